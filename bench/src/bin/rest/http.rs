//! One kept HTTP/1.1 connection, and as much of the protocol as the API's answers need.

use std::net::SocketAddr;

use millrace_bench::Failure;
use millrace_bench::server::AUTHORIZATION;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection of a client.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// A request and the status and body of its answer.
    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, Vec<u8>), Failure> {
        let request = format!(
            "{method} /openvidu/api{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let (head, status, length) = loop {
            self.read().await?;
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let (status, length) = understand(std::str::from_utf8(&self.buffer[..end])?)?;
                break (end + 4, status, length);
            }
        };
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        Ok((status, self.buffer.split_off(head)))
    }

    async fn read(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// Status and length of the body.
fn understand(head: &str) -> Result<(u16, usize), Failure> {
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    Ok((status, length.unwrap_or_default()))
}
