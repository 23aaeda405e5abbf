//! Reading and writing the integers of a body.

use crate::WireError;

/// The bytes of a body, read from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyCursor<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BodyCursor<'a> {
    /// Reads `bytes`, which errors call `what`.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, at: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// How many bytes were read.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next `len` bytes. The length may be anything: it is checked, and nothing is copied.
    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], WireError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(WireError::Short {
                what: self.what,
                at: self.bytes.len(),
                missing: usize::try_from(len).unwrap_or(usize::MAX) - rest.len(),
            }),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A LEB128 number in its shortest form.
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        let wrong = WireError::Varint { at: self.at };
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(wrong);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(wrong) } else { Ok(number) };
            }
        }
        Err(wrong)
    }

    /// A text with its length before it, of `most` bytes at most.
    pub(crate) fn text(&mut self, what: &'static str, most: u64) -> Result<&'a str, WireError> {
        let len = self.varint()?;
        if len > most {
            return Err(WireError::Range { what, got: len, expected: "a shorter text" });
        }
        str::from_utf8(self.take(len)?).map_err(|_| WireError::Text { what })
    }

    /// Errors unless everything was read.
    pub(crate) fn end(self) -> Result<(), WireError> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            extra => Err(WireError::Long { what: self.what, extra }),
        }
    }
}

/// Appends a LEB128 number in its shortest form.
pub(crate) fn put_varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Appends a text with its length before it.
pub(crate) fn put_text(into: &mut Vec<u8>, text: &str) {
    put_varint(into, text.len() as u64);
    into.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<u64, WireError> {
        let mut cursor = BodyCursor::new("it", bytes);
        let number = cursor.varint()?;
        cursor.end()?;
        Ok(number)
    }

    #[test]
    fn a_number_has_one_form() {
        for number in [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, number);
            assert_eq!(varint(&bytes), Ok(number));
        }
        for longer in [&[0x80, 0][..], &[0xff, 0x80, 0], &[0xff; 10], &[0xff; 11]] {
            assert!(matches!(varint(longer), Err(WireError::Varint { at: 0 })), "{longer:x?}");
        }
        assert!(matches!(varint(&[0x80]), Err(WireError::Short { missing: 1, .. })));
        let overflow = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert!(varint(&overflow).is_err());
    }

    #[test]
    fn no_length_is_believed() {
        for len in [2, 1 << 40, u64::MAX] {
            assert!(BodyCursor::new("it", &[0]).take(len).is_err());
        }
    }
}
