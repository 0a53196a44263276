//! The program that picks a socket of an SO_REUSEPORT group, as instructions of the kernel's virtual machine (RFC 9669).
//!
//! In words: take the source address from the IP header, IPv4 in mapped form, and the source port from the UDP header; look
//! both up in the table of flows; if they are there, pick the socket at the index found; pass in any case. Whatever does
//! not succeed leaves no socket picked, and the kernel then picks by its hash.

use std::os::fd::RawFd;

/// One instruction (RFC 9669 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    opcode: u8,
    /// Source register in the high half, destination in the low one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Operation codes (RFC 9669 appendix A).
mod op {
    pub(super) const ADD_IMMEDIATE: u8 = 0x07;
    pub(super) const JUMP_IF_EQUAL: u8 = 0x15;
    pub(super) const LOAD_64: u8 = 0x18;
    pub(super) const JUMP_UNLESS_EQUAL: u8 = 0x55;
    pub(super) const JUMP: u8 = 0x05;
    pub(super) const LOAD_WORD: u8 = 0x61;
    pub(super) const STORE_WORD: u8 = 0x63;
    pub(super) const STORE_HALF_IMMEDIATE: u8 = 0x6a;
    pub(super) const STORE_DOUBLE_IMMEDIATE: u8 = 0x7a;
    pub(super) const CALL: u8 = 0x85;
    pub(super) const EXIT: u8 = 0x95;
    pub(super) const MOVE_IMMEDIATE: u8 = 0xb7;
    pub(super) const MOVE: u8 = 0xbf;
}

/// Helper functions of the kernel, `enum bpf_func_id`.
mod helper {
    pub(super) const MAP_LOOKUP_ELEM: i32 = 1;
    pub(super) const SKB_LOAD_BYTES: i32 = 26;
    pub(super) const SKB_LOAD_BYTES_RELATIVE: i32 = 68;
    pub(super) const SK_SELECT_REUSEPORT: i32 = 82;
}

/// Says of [`op::LOAD_64`] that its value is the descriptor of a map.
const MAP_BY_DESCRIPTOR: u8 = 1;
/// Offsets count from the network header, `BPF_HDR_START_NET`.
const FROM_NETWORK_HEADER: i32 = 1;
const SK_PASS: i32 = 1;
/// `eth_protocol` in `struct sk_reuseport_md`; in network order, as the packet has it.
const ETH_PROTOCOL: i16 = 20;
const IPV4: i32 = 0x0800_u16.to_be() as i32;
const IPV6: i32 = 0x86dd_u16.to_be() as i32;
/// Offset and length of the source address in the IPv4 and in the IPv6 header.
const IPV4_SOURCE: (i32, i32) = (12, 4);
const IPV6_SOURCE: (i32, i32) = (8, 16);
/// Offset and length of the source port in the UDP header, where the program's packet begins.
const UDP_SOURCE_PORT: (i32, i32) = (0, 2);

/// The stack, below the frame pointer: a flow as the table has it (16 bytes address, 2 port, 2 of nothing), then the index
/// that was found.
const FLOW: i16 = -24;
const FLOW_PORT: i16 = FLOW + 16;
const INDEX: i16 = -4;

/// Registers: arguments are in 1 to 5 and lost in calls, results in 0; 6 keeps the packet, 10 is the frame pointer.
const PACKET: u8 = 6;
const FRAME: u8 = 10;

/// The program, for the table `flows` and the group's sockets `members`.
pub(super) fn pick_owner(flows: RawFd, members: RawFd) -> Vec<Instruction> {
    let mut code = Assembler::default();
    code.put(op::MOVE, PACKET, 1, 0, 0);
    for at in [FLOW, FLOW + 8, FLOW + 16] {
        code.put(op::STORE_DOUBLE_IMMEDIATE, FRAME, 0, at, 0);
    }
    code.put(op::LOAD_WORD, 7, PACKET, ETH_PROTOCOL, 0);
    let to_ipv6 = code.put(op::JUMP_IF_EQUAL, 7, 0, 0, IPV6);
    code.pass_unless(7, IPV4);
    code.put(op::STORE_HALF_IMMEDIATE, FRAME, 0, FLOW + 10, 0xffff);
    code.load_address(IPV4_SOURCE, FLOW + 12);
    let to_port = code.put(op::JUMP, 0, 0, 0, 0);
    code.land(to_ipv6);
    code.load_address(IPV6_SOURCE, FLOW);
    code.land(to_port);
    code.pass_unless(0, 0);
    code.load(UDP_SOURCE_PORT, FLOW_PORT);
    code.put(op::CALL, 0, 0, 0, helper::SKB_LOAD_BYTES);
    code.pass_unless(0, 0);
    code.map(1, flows);
    code.stack(2, FLOW);
    code.put(op::CALL, 0, 0, 0, helper::MAP_LOOKUP_ELEM);
    code.pass_if(0, 0);
    code.put(op::LOAD_WORD, 1, 0, 0, 0);
    code.put(op::STORE_WORD, FRAME, 1, INDEX, 0);
    code.put(op::MOVE, 1, PACKET, 0, 0);
    code.map(2, members);
    code.stack(3, INDEX);
    code.put(op::MOVE_IMMEDIATE, 4, 0, 0, 0);
    code.put(op::CALL, 0, 0, 0, helper::SK_SELECT_REUSEPORT);
    code.finish()
}

/// Instructions so far, and the jumps among them that lead to the end.
#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    to_end: Vec<usize>,
}

impl Assembler {
    /// Appends an instruction and gives its place.
    fn put(&mut self, opcode: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> usize {
        self.code.push(Instruction { opcode, registers: source << 4 | destination, offset, immediate });
        self.code.len() - 1
    }

    /// Lets the jump at `from` land here.
    fn land(&mut self, from: usize) {
        self.code[from].offset = (self.code.len() - from - 1) as i16;
    }

    fn pass_unless(&mut self, register: u8, value: i32) {
        let jump = self.put(op::JUMP_UNLESS_EQUAL, register, 0, 0, value);
        self.to_end.push(jump);
    }

    fn pass_if(&mut self, register: u8, value: i32) {
        let jump = self.put(op::JUMP_IF_EQUAL, register, 0, 0, value);
        self.to_end.push(jump);
    }

    /// Puts the address of `at` on the stack into a register.
    fn stack(&mut self, register: u8, at: i16) {
        self.put(op::MOVE, register, FRAME, 0, 0);
        self.put(op::ADD_IMMEDIATE, register, 0, 0, i32::from(at));
    }

    /// Puts a map into a register; takes two places.
    fn map(&mut self, register: u8, fd: RawFd) {
        self.put(op::LOAD_64, register, MAP_BY_DESCRIPTOR, 0, fd);
        self.put(0, 0, 0, 0, 0);
    }

    /// The arguments that both helpers have which copy of the packet: what, and where to.
    fn load(&mut self, (offset, len): (i32, i32), to: i16) {
        self.put(op::MOVE, 1, PACKET, 0, 0);
        self.put(op::MOVE_IMMEDIATE, 2, 0, 0, offset);
        self.stack(3, to);
        self.put(op::MOVE_IMMEDIATE, 4, 0, 0, len);
    }

    fn load_address(&mut self, what: (i32, i32), to: i16) {
        self.load(what, to);
        self.put(op::MOVE_IMMEDIATE, 5, 0, 0, FROM_NETWORK_HEADER);
        self.put(op::CALL, 0, 0, 0, helper::SKB_LOAD_BYTES_RELATIVE);
    }

    fn finish(mut self) -> Vec<Instruction> {
        for jump in std::mem::take(&mut self.to_end) {
            self.land(jump);
        }
        self.put(op::MOVE_IMMEDIATE, 0, 0, 0, SK_PASS);
        self.put(op::EXIT, 0, 0, 0, 0);
        self.code
    }
}
