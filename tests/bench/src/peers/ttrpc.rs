//! As much of ttRPC, and of the protocol buffers in it, as it takes to ask a shim of containerd's for something: a header of ten bytes,
//! a message, and the answer. The crates that speak all of it would be most of what this workspace compiles.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Fields of a protocol buffer, encoded.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// A text, or a message.
    pub fn bytes(mut self, field: u64, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// A number.
    pub fn number(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// One field of a message that came.
pub enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The first field of this number; `None` when there is none, as when it is 0 or empty.
pub fn field(mut message: &[u8], wanted: u64) -> Option<Field<'_>> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let value = match key & 7 {
            0 => Field::Number(varint(&mut message)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some(value);
        }
    }
    None
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// A connection to a shim.
pub struct Connection {
    socket: UnixStream,
    next_stream: u32,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn to(path: &Path) -> Self {
        let socket = UnixStream::connect(path);
        Self {
            socket: socket.unwrap_or_else(|e| panic!("connect to {}: {e}", path.display())),
            next_stream: 1,
        }
    }

    /// Asks a task for something, and does not wait for the answer.
    ///
    /// # Panics
    /// When it is gone.
    pub fn ask(&mut self, method: &str, request: &Message) {
        let request = Message::default()
            .bytes(1, "containerd.task.v2.Task")
            .bytes(2, method)
            .bytes(3, request);
        let length = u32::try_from(request.0.len()).expect("requests are short");
        let mut frame = Vec::from(length.to_be_bytes());
        frame.extend(self.next_stream.to_be_bytes());
        frame.extend([1, 0]);
        frame.extend(request.0);
        // A client's numbers are odd.
        self.next_stream += 2;
        self.socket.write_all(&frame).expect("ask a shim");
    }

    /// The answer to what was asked last.
    ///
    /// # Panics
    /// When it is gone, or says no.
    pub fn answer(&mut self, method: &str) -> Vec<u8> {
        let mut header = [0; 10];
        self.socket
            .read_exact(&mut header)
            .expect("hear from a shim");
        let length = u32::from_be_bytes(header[..4].try_into().expect("four bytes"));
        let mut answer = vec![0; length as usize];
        self.socket
            .read_exact(&mut answer)
            .expect("hear from a shim");
        if let Some(Field::Bytes(status)) = field(&answer, 1)
            && let Some(Field::Number(code)) = field(status, 1)
        {
            let message = match field(status, 2) {
                Some(Field::Bytes(message)) => String::from_utf8_lossy(message).into_owned(),
                _ => String::new(),
            };
            panic!("{method}: code {code}: {message}");
        }
        match field(&answer, 2) {
            Some(Field::Bytes(payload)) => payload.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Panics
    /// When it is gone, or says no.
    pub fn call(&mut self, method: &str, request: &Message) -> Vec<u8> {
        self.ask(method, request);
        self.answer(method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_again() {
        let inner = Message::default().number(1, 300).bytes(2, "no");
        let message = Message::default()
            .bytes(1, "id")
            .number(3, 7)
            .bytes(9, &inner);
        assert!(matches!(
            field(message.as_ref(), 1),
            Some(Field::Bytes(b"id"))
        ));
        assert!(matches!(field(message.as_ref(), 3), Some(Field::Number(7))));
        assert!(field(message.as_ref(), 4).is_none());
        let Some(Field::Bytes(found)) = field(message.as_ref(), 9) else {
            panic!("a message in a message");
        };
        assert!(matches!(field(found, 1), Some(Field::Number(300))));
    }
}
