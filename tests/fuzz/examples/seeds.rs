//! Writes the seeds of all corpora: valid messages of every kind, and each of them cut, changed and extended.
//! Fuzzing starts from them; what it finds is added to the same folders under its hash.

use std::io;
use std::path::Path;

use bytes::BytesMut;
use dataplane_core::srtp::{MAX_OVERHEAD, Outbound};
use dataplane_core::wire::ext::ExtWriter;
use dataplane_core::wire::rtcp::{ReportBlock, RtcpWriter};
use dataplane_core::wire::stun::{
    IntegrityKey, Role, write_binding_request, write_binding_success, write_error, write_unknown_attributes,
};
use dataplane_core::wire::twcc::Feedback;
use dataplane_protocol::{
    Candidate, Codec, CodecParameters, Command, CreateTransport, Done, DropCount, Event, ExtensionKind, Failure,
    Fingerprint, FromDataPlane, HeaderExtension, Hello, HelloReply, MediaKind, Message, Outcome, Publish,
    RemoteParameters, RemoveTransport, Reply, SetRemote, Snapshot, SnapshotRequest, SrtpProfile, Stats, StatsRequest,
    Subscribe, SubscriptionInfo, ToDataPlane, TrackInfo, TransportEvent, TransportInfo, Unpublish, Unsubscribe,
    WorkerStats, encode,
};
use millrace_controlplane::webhook::record::{HEADER, Record, encode as encode_record};

type Seeds = Vec<(&'static str, Vec<u8>)>;

fn main() -> io::Result<()> {
    let targets = [
        ("stun", named(stun())),
        ("rtp", named(rtp())),
        ("rtcp", named(rtcp())),
        ("control_frames", named(control_frames())),
        ("sdp", sdp()?),
        ("json_rpc", named(json_rpc())),
        ("webhook_record", named(webhook_record())),
    ];
    for (target, seeds) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("empty"), [])?;
        for (n, (name, bytes)) in seeds.iter().enumerate() {
            std::fs::write(folder.join(name), bytes)?;
            // One mutation each keeps the corpora small; which one goes round.
            let mut mutated = bytes.clone();
            let middle = bytes.len() / 2;
            let kind = match n % 3 {
                0 => {
                    mutated.truncate(middle);
                    "cut"
                }
                1 => {
                    mutated[middle] ^= 0xff;
                    "changed"
                }
                _ => {
                    mutated.extend_from_slice(&bytes[..middle]);
                    "extended"
                }
            };
            std::fs::write(folder.join(format!("{name}-{kind}")), mutated)?;
        }
    }
    Ok(())
}

fn written(write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = vec![0; 1500];
    let len = write(&mut out).unwrap_or_default();
    out.truncate(len);
    out
}

/// Bytes from hexadecimal text; blanks are ignored.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect()
}

fn stun() -> Seeds {
    let id = *b"transaction!";
    let key = IntegrityKey::new("VOkJxbRl1RmTxUk/WvJxBt");
    let request =
        |role, nominate| written(|out| write_binding_request(out, id, "evtj:h6vY", 0x6e00_01ff, role, nominate, &key));
    let success = |address: ([u8; 4], u16)| written(|out| write_binding_success(out, id, address.into(), &key));
    let v6 = std::net::SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 32853));
    vec![
        // RFC 5769 2.1 to 2.3.
        (
            "sample-request",
            hex("000100582112a442b7e7a701bc34d686fa87dfae 802200105354554e207465737420636c69656e74
                 002400046e0001ff 80290008932ff9b151263b36 000600096576746a3a68367659202020
                 000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 80280004e57a3bcf"),
        ),
        (
            "sample-response-v4",
            hex("0101003c2112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220 002000080001a147e112a643
                 000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96"),
        ),
        (
            "sample-response-v6",
            hex("010100482112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220
                 002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
                 00080014a382954e4be67bf11784c97c8292c275bfe3ed41 80280004c8fb0b4c"),
        ),
        ("controlling", request(Role::Controlling(u64::MAX), false)),
        ("nominating", request(Role::Controlling(1), true)),
        ("controlled", request(Role::Controlled(7), false)),
        ("success-v4", success(([192, 0, 2, 1], 1))),
        ("success-v6", written(|out| write_binding_success(out, id, v6, &key))),
        ("role-conflict", written(|out| write_error(out, id, 487, "Role Conflict", Some(&key)))),
        ("unauthorized", written(|out| write_error(out, id, 401, "", None))),
        ("unknown-attribute", written(|out| write_unknown_attributes(out, id, &[1, 0x7f01, 3], Some(&key)))),
        ("indication", hex("001100002112a442 000000000000000000000000")),
        ("mapped-address", hex("0101000c2112a442 000000000000000000000000 000100080001a147c0000201")),
        (
            "integrity-twice",
            hex("000100302112a442 000000000000000000000000
             00080014 0000000000000000000000000000000000000000 00080014 0000000000000000000000000000000000000000"),
        ),
        ("fingerprint-first", hex("000100102112a442 000000000000000000000000 8028000400000000 0024000400000001")),
        (
            "nine-unknown",
            hex("000100242112a442 000000000000000000000000 0000000000000000 0000000000000000
             0000000000000000 0000000000000000 00000000"),
        ),
    ]
}

/// An RTP packet with a one-byte or two-byte block of `elements`.
fn rtp_packet(two_byte: bool, elements: &[(u8, &[u8])], payload: &str) -> Vec<u8> {
    let mut packet = hex("80e0f17b 8041f8d3 5501a0b2");
    let mut block = [0; 300];
    let mut writer = if two_byte { ExtWriter::two_byte(&mut block) } else { ExtWriter::one_byte(&mut block) };
    for (id, data) in elements {
        writer.push(*id, data);
    }
    let len = writer.finish();
    packet[0] |= u8::from(len != 0) << 4;
    packet.extend_from_slice(&block[..len]);
    packet.extend(hex(payload));
    packet
}

fn rtp() -> Seeds {
    let plain = rtp_packet(false, &[], "00010203");
    let mut sealed = [&plain[..], &[0; MAX_OVERHEAD]].concat();
    // The keys that the target uses; this is the one way to come by a tag that is right.
    let len = Outbound::new(SrtpProfile::AeadAes128Gcm, &[0x17; 16], &[0x71; 12])
        .and_then(|outbound| outbound.protect_rtp(&mut sealed, plain.len(), 12, 1 << 16 | 0xf17b));
    sealed.truncate(len.unwrap_or_default());
    vec![
        ("plain", plain),
        ("sealed-in-a-later-cycle", sealed),
        (
            "csrcs",
            hex("8fe00001 00000002 00000003 0001 0002 0003 0004 0005 0006 0007 0008 0009 000a 000b 000c 000d 000e
             000f 0010 0011 0012 0013 0014 0015 0016 0017 0018 0019 001a 001b 001c 001d 001e aa"),
        ),
        ("padding", hex("a0600001 00000002 00000003 aabb 000003")),
        ("padding-too-long", hex("a0600001 00000002 00000003 aabb 000009")),
        ("one-byte", rtp_packet(false, &[(1, b"0"), (3, &[1, 2, 3]), (5, &[9; 16])], "10 00")),
        ("two-byte", rtp_packet(true, &[(1, b""), (200, &[7; 40])], "10 01")),
        ("one-byte-stop", hex("90600001 00000002 00000003 bede0002 10aaf0bb 20cc0000 01")),
        ("one-byte-id-0", hex("90600001 00000002 00000003 bede0002 02ffffff 10aa0000 01")),
        ("one-byte-overrun", hex("90600001 00000002 00000003 bede0001 10aa2fbb 01")),
        ("two-byte-overrun", hex("90600001 00000002 00000003 10000001 0101aa02 01")),
        ("other-profile", hex("90600001 00000002 00000003 12340001 0101aa02 01")),
        ("long-block", hex("90600001 00000002 00000003 bedeffff 01")),
        ("vp8-key", rtp_packet(false, &[], "90 f0 92ab 07 a5 10")),
        ("vp8-narrow", rtp_packet(false, &[], "90 80 01 11")),
        ("vp8-cut", rtp_packet(false, &[], "90 f0 92")),
        ("vp9-key", rtp_packet(false, &[], "ae 8001 00 05 18 0280 01e0 01 00 aabb")),
        ("vp9-flexible", rtp_packet(false, &[], "f8 05 02 03 05 06 aa")),
        ("vp9-many-pictures", rtp_packet(false, &[], "0a 08 ff 0c 01 02 03 0c")),
        ("h264-idr", rtp_packet(false, &[], "65 88")),
        ("h264-stap", rtp_packet(false, &[], "78 0002 06aa 0003 6742e0 0002 68ce")),
        ("h264-fu", rtp_packet(false, &[], "7c 85 88")),
        ("av1-sequence", rtp_packet(false, &[], "10 0a 0b")),
        ("av1-leb128", rtp_packet(false, &[], "20 8001 08 00")),
    ]
}

fn rtcp() -> Seeds {
    let block = ReportBlock {
        ssrc: 7,
        fraction_lost: 20,
        cumulative_lost: -5,
        highest_sequence: 0x0001_fffe,
        jitter: 90,
        lsr: 0x1234_5678,
        dlsr: 65_536,
    };
    let compound = |write: &dyn Fn(&mut RtcpWriter<'_>) -> bool| {
        written(|out| {
            let mut writer = RtcpWriter::new(out);
            write(&mut writer).then(|| writer.len())
        })
    };
    let feedback = Feedback { sender: 1, media: 2, count: 3, base_sequence: 65_530 };
    let arrivals: Vec<_> =
        (0..60i64).map(|n| (n % 7 != 3).then_some(5_000_000 + n * 1300 - n % 5 * 4000 + n / 30 * 90_000)).collect();
    vec![
        ("sender-report", compound(&|w| w.sender_report(1, u64::MAX / 3, 2, 3, 4, &[block]) && w.sdes_cname(1, "me"))),
        ("receiver-report", compound(&|w| w.receiver_report(1, &[block; 3]))),
        ("no-blocks", compound(&|w| w.receiver_report(1, &[]))),
        ("bye", compound(&|w| w.receiver_report(1, &[]) && w.bye(1))),
        ("bye-with-reason", hex("82cb0004 00000001 00000002 05 6c65617665 0000")),
        ("pli", compound(&|w| w.pli(1, 2))),
        ("fir", compound(&|w| w.fir(1, 2, 3))),
        ("nack", compound(&|w| w.nack(1, 2, &[10, 11, 26, 27, 65_535]))),
        ("nack-unordered", hex("81cd0004 00000001 00000002 0009ffff 00010003")),
        ("nack-empty", hex("81cd0002 00000001 00000002")),
        ("remb", compound(&|w| w.remb(1, 1_234_567, &[2, 3]))),
        ("remb-huge", hex("8fce0004 00000001 00000000 52454d42 00ffffff")),
        ("transport-cc", compound(&|w| w.transport_cc(feedback, &arrivals) != 0)),
        ("transport-cc-run", hex("8fcd0005 00000001 00000002 0005 0003 000001 00 2003 0102 03 000000")),
        (
            "transport-cc-65535",
            hex("8fcd0007 00000001 00000002 0005 ffff 000001 00 1fff 1fff 1fff 1fff 1fff 1fff 1fff 1fff 1fff 1fff"),
        ),
        (
            "compound",
            compound(&|w| w.receiver_report(1, &[block]) && w.sdes_cname(1, "x") && w.nack(1, 2, &[3]) && w.pli(1, 2)),
        ),
        ("padding", hex("a1ca0002 00000001 00000004 80c90001 00000007")),
        ("padding-too-long", hex("a0c90001 00000005")),
        ("extended-report", hex("80cf0001 00000001")),
        ("pauses", (0..90u8).flat_map(|n| [n.wrapping_mul(3), n % 9, n]).collect()),
    ]
}

fn control_frames() -> Seeds {
    let codec = CodecParameters {
        codec: Codec::Vp8 as i32,
        payload_type: 96,
        clock_rate: 90_000,
        rtx_payload_type: Some(97),
        nack: true,
        pli: true,
        transport_cc: true,
        ..CodecParameters::default()
    };
    let extensions = vec![HeaderExtension { kind: ExtensionKind::Mid as i32, id: 4 }];
    let fingerprint = Fingerprint { hash: "sha-256".into(), digest: vec![0xab; 32] };
    let remote = RemoteParameters {
        ice_ufrag: "abcd".into(),
        ice_pwd: "a password of 22 letters".into(),
        fingerprints: vec![fingerprint.clone()],
        dtls_role: 1,
    };
    let (mid, label) = (String::from("0"), String::from("alice"));
    let commands = [
        ("hello", Command::Hello(Hello { version: 1, software: "seeds".into() })),
        (
            "create",
            Command::CreateTransport(CreateTransport {
                transport: 1,
                ice_ufrag: "efgh".into(),
                ice_pwd: "another password".into(),
                remote: Some(remote.clone()),
                label: label.clone(),
                near: Some(7),
            }),
        ),
        ("set-remote", Command::SetRemote(SetRemote { transport: 1, remote: Some(remote) })),
        ("remove", Command::RemoveTransport(RemoveTransport { transport: u64::MAX })),
        (
            "publish",
            Command::Publish(Publish {
                track: 2,
                transport: 1,
                kind: MediaKind::Video as i32,
                mid: mid.clone(),
                codec: Some(codec.clone()),
                ssrc: Some(7),
                rtx_ssrc: Some(8),
                extensions: extensions.clone(),
                label: label.clone(),
                ..Publish::default()
            }),
        ),
        ("unpublish", Command::Unpublish(Unpublish { track: 2 })),
        (
            "subscribe",
            Command::Subscribe(Subscribe {
                subscription: 3,
                transport: 1,
                track: 2,
                mid,
                codec: Some(codec),
                ssrc: 9,
                rtx_ssrc: None,
                extensions,
                cname: "c".into(),
                label: label.clone(),
                ..Subscribe::default()
            }),
        ),
        ("unsubscribe", Command::Unsubscribe(Unsubscribe { subscription: 3 })),
        ("snapshot-request", Command::Snapshot(SnapshotRequest {})),
        ("stats-request", Command::Stats(StatsRequest {})),
    ];
    let mut seeds: Seeds = commands.into_iter().map(|(name, body)| (name, command(body))).collect();

    let worker = WorkerStats {
        worker: 1,
        datagrams_received: 1 << 40,
        drops: vec![DropCount { reason: "replayed".into(), count: 3 }],
        gso: true,
        ..WorkerStats::default()
    };
    let stats = Stats { workers: vec![worker], commands: 5, ..Stats::default() };
    let snapshot = Snapshot {
        transports: vec![TransportInfo { transport: 1, label, worker: Some(0), ..TransportInfo::default() }],
        tracks: vec![TrackInfo { track: 2, lost: -1, ..TrackInfo::default() }],
        subscriptions: vec![SubscriptionInfo { subscription: 3, rtt_us: 20_000, ..SubscriptionInfo::default() }],
        stats: Some(stats.clone()),
    };
    let hello = HelloReply {
        version: 1,
        software: "seeds".into(),
        instance: 9,
        workers: 2,
        fingerprint: Some(fingerprint),
        candidates: vec![Candidate { address: "192.0.2.1".into(), port: 40_000 }],
        started_unix_ms: 1,
    };
    let outcomes = [
        ("done", Outcome::Done(Done {})),
        ("failed", Outcome::Failure(Failure { code: 3, detail: "no such track".into() })),
        ("hello-reply", Outcome::Hello(hello)),
        ("snapshot", Outcome::Snapshot(snapshot)),
        ("stats", Outcome::Stats(stats)),
    ];
    seeds.extend(
        outcomes
            .into_iter()
            .map(|(name, outcome)| (name, answer(Message::Reply(Reply { request_id: 41, outcome: Some(outcome) })))),
    );
    let event = Event { transport: Some(TransportEvent { transport: 1, state: 2, ..TransportEvent::default() }) };
    seeds.push(("event", answer(Message::Event(event))));
    seeds.push(("several", seeds.iter().take(4).flat_map(|(_, bytes)| bytes.clone()).collect()));
    seeds.push(("too-long", hex("02000001 00")));
    seeds.push(("not-a-message", hex("00000003 ffffff")));
    seeds
}

fn command(command: Command) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&ToDataPlane { request_id: 41, command: Some(command) }, &mut out);
    out.to_vec()
}

fn answer(message: Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&FromDataPlane { message: Some(message) }, &mut out);
    out.to_vec()
}

fn named(seeds: Seeds) -> Vec<(String, Vec<u8>)> {
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

/// The golden offers and answers of the control plane's tests.
fn sdp() -> io::Result<Vec<(String, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../controlplane/src/sdp/tests/offers");
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        seeds.push((name, std::fs::read(path)?));
    }
    let simulcast =
        seeds.iter().find(|(name, _)| name == "chromium156_publish_simulcast").map(|(_, text)| text.clone());
    let simulcast = String::from_utf8_lossy(&simulcast.unwrap_or_default()).into_owned();
    let sends = "a=rid:rdiv4 send\r\na=rid:rdiv2 send\r\na=rid:rdiv1 send\r\na=simulcast:send rdiv4;rdiv2;rdiv1\r\n";
    for (name, lines) in [
        ("alternatives", "a=rid:0 send\r\na=rid:1 send pt=96\r\na=rid:2 send\r\na=simulcast:send 0;~1,2\r\n"),
        ("both_lists", "a=rid:a send\r\na=rid:b recv\r\na=simulcast:recv b send a\r\n"),
        ("lone_rid", "a=rid:h send max-width=640\r\n"),
    ] {
        let offer = simulcast.replace(sends, lines).replace("a=sendonly", "a=sendrecv");
        seeds.push((format!("simulcast_{name}"), offer.into_bytes()));
    }
    seeds.sort();
    Ok(seeds)
}

/// Frames of both client generations, and frames that are no requests.
fn json_rpc() -> Seeds {
    let frames = [
        ("ping", r#"{"jsonrpc":"2.0","method":"ping","params":{"interval":5000},"id":0}"#),
        ("ping_bare", r#"{"jsonrpc":"2.0","method":"ping","id":13}"#),
        (
            "join",
            r#"{"jsonrpc":"2.0","method":"joinRoom","params":{"token":"wss://h?sessionId=s&token=tok_A","session":"s","platform":"p","metadata":"{}","secret":"","recorder":false},"id":1}"#,
        ),
        (
            "publish",
            r#"{"jsonrpc":"2.0","method":"publishVideo","params":{"sdpOffer":"v=0\r\n","doLoopback":false,"hasAudio":true,"hasVideo":true},"id":2}"#,
        ),
        (
            "candidate",
            r#"{"jsonrpc":"2.0","method":"onIceCandidate","params":{"endpointName":"con_A","candidate":"","sdpMid":"0","sdpMLineIndex":0},"id":3}"#,
        ),
        ("signal", r#"{"jsonrpc":"2.0","method":"sendMessage","params":{"message":"{\"to\":[]}"},"id":22}"#),
        ("leave", r#"{"jsonrpc":"2.0","method":"leaveRoom","params":{},"id":19}"#),
        ("connect", r#"{"jsonrpc":"2.0","method":"connect","params":{"sessionId":"7g2","reconnect":true},"id":21}"#),
        ("no_id", r#"{"jsonrpc":"2.0","method":"echo"}"#),
        ("text_id", r#"{"jsonrpc":"2.0","method":"echo","id":"a"}"#),
        ("odd_id", r#"{"jsonrpc":"2.0","method":"echo","id":{}}"#),
        ("odd_method", r#"{"jsonrpc":"2.0","method":7,"id":1}"#),
        ("odd_params", r#"{"jsonrpc":"2.0","method":"echo","params":[1],"id":1}"#),
        ("response", r#"{"jsonrpc":"2.0","result":"push","id":1}"#),
        ("array", "[1,2]"),
        ("deep", "[[[[[[[[[[[[[[[[{}]]]]]]]]]]]]]]]]"),
        ("number", "1e999"),
    ];
    frames.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect()
}

fn webhook_record() -> Seeds {
    let body = br#"{"sessionId":"s","timestamp":1,"event":"sessionCreated"}"#;
    let event = |id, session, body| Record::Event { id, at_ms: 1_795_375_342_755, session, body };
    let file = |records: &[Record<'_>]| {
        let mut out = Vec::new();
        records.iter().for_each(|record| {
            encode_record(record, &mut out);
        });
        out
    };
    let ordinary = [event(1, "s", body), event(2, "other", body), Record::Done { id: 1 }, event(3, "s", b"{}")];
    // Payloads as they stand behind their sum: the target adds it.
    let payload = |records: &[Record<'_>]| file(records).split_off(HEADER);
    vec![
        ("event", file(&ordinary[..1])),
        ("done", file(&[Record::Done { id: u64::MAX }])),
        ("ordinary", file(&ordinary)),
        ("no-session", file(&[event(0, "", b"")])),
        ("session-of-many-bytes", file(&[event(7, "ses_ÄÖÜß€😀", body)])),
        ("done-twice", file(&[Record::Done { id: 4 }, Record::Done { id: 4 }])),
        ("payload-event", payload(&ordinary[..1])),
        ("payload-done", payload(&[Record::Done { id: 9 }])),
        ("payload-done-and-more", [payload(&[Record::Done { id: 9 }]), vec![0]].concat()),
        ("payload-session-beyond-the-end", hex("01 0000000000000001 0000000000000002 ffff 61")),
        ("payload-session-no-text", hex("01 0000000000000001 0000000000000002 0002 c328 7b7d")),
        ("payload-unknown-kind", hex("03 0000000000000001")),
        ("payload-half-a-number", hex("02 00000000")),
        ("length-beyond-the-end", hex("00400000 0000000000000000 01")),
        ("length-of-4-gib", hex("ffffffff 0000000000000000 01")),
    ]
}
