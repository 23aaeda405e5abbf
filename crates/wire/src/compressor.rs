//! Making the body of a DATA frame smaller, where that pays.

use crate::{FrameKind, HEAD, MOST_BODY, WireError};

/// How a body is squeezed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionMethod {
    /// Not at all.
    None,
    /// LZ4, one block.
    Lz4,
    /// Zstandard, one frame, at its fastest positive level.
    Zstd,
}

/// zstd's level: the fastest that still models.
const LEVEL: i32 = 1;

impl CompressionMethod {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Zstd];

    /// The kind of a frame whose body is squeezed so.
    pub fn kind(self) -> FrameKind {
        match self {
            Self::None => FrameKind::Data,
            Self::Lz4 => FrameKind::DataLz4,
            Self::Zstd => FrameKind::DataZstd,
        }
    }

    /// The name of the compression method.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Squeezes bodies, one after the other.
#[derive(Default)]
pub struct Compressor {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    frame: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Squeeze")
    }
}

impl Compressor {
    /// Squeezes a frame as [`crate::RecordWriter::frame`] gives it into another one, with room for
    /// a head. `None` if it does not get smaller, or the method is [`CompressionMethod::None`].
    pub fn frame(&mut self, method: CompressionMethod, frame: &[u8]) -> Option<&mut [u8]> {
        let body = &frame[HEAD..];
        let most = match method {
            CompressionMethod::None => return None,
            CompressionMethod::Lz4 => lz4_flex::block::get_maximum_output_size(body.len()),
            CompressionMethod::Zstd => zstd::zstd_safe::compress_bound(body.len()),
        };
        self.frame.resize(HEAD + 4 + most, 0);
        self.frame[HEAD..HEAD + 4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        let room = &mut self.frame[HEAD + 4..];
        let len = match method {
            CompressionMethod::None => return None,
            CompressionMethod::Lz4 => lz4_flex::block::compress_into(body, room).ok()?,
            CompressionMethod::Zstd => {
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => none.insert(zstd::bulk::Compressor::new(LEVEL).ok()?),
                };
                zstd.compress_to_buffer(body, room).ok()?
            }
        };
        (4 + len < body.len()).then(|| &mut self.frame[..HEAD + 4 + len])
    }
}

/// Opens squeezed bodies.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    body: Vec<u8>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unsqueeze")
    }
}

impl Decompressor {
    /// The records in the body of a frame of one of the three kinds of DATA.
    ///
    /// Errors: another kind, or the body does not open to exactly the length that it claims.
    pub fn body<'a>(&'a mut self, kind: FrameKind, body: &'a [u8]) -> Result<&'a [u8], WireError> {
        let method = match kind {
            FrameKind::Data => return Ok(body),
            FrameKind::DataLz4 => CompressionMethod::Lz4,
            FrameKind::DataZstd => CompressionMethod::Zstd,
            got => return Err(WireError::Unexpected { expected: "DATA", got }),
        };
        let Some((len, squeezed)) = body.split_first_chunk::<4>() else {
            let missing = 4 - body.len();
            return Err(WireError::Short { what: "a squeezed body", at: body.len(), missing });
        };
        let len = u32::from_le_bytes(*len);
        if len > MOST_BODY {
            return Err(WireError::TooLong { got: len, most: MOST_BODY });
        }
        let expected = len as usize;
        let wrong = WireError::Squeezed { method: method.name(), expected };
        self.body.resize(expected, 0);
        let opened = match method {
            CompressionMethod::Lz4 => {
                lz4_flex::block::decompress_into(squeezed, &mut self.body).ok()
            }
            _ => {
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => {
                        none.insert(zstd::bulk::Decompressor::new().map_err(|_| wrong.clone())?)
                    }
                };
                zstd.decompress_to_buffer(squeezed, &mut self.body[..]).ok()
            }
        };
        if opened == Some(expected) { Ok(&self.body) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        [&[0; HEAD][..], body].concat()
    }

    #[test]
    fn what_is_squeezed_opens_again_and_noise_is_left_alone() {
        let text: Vec<u8> = b"the same again and again ".repeat(3000);
        let mut state = 1u32;
        let mut noise = vec![0; 4096];
        noise.fill_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let (mut squeeze, mut open) = (Compressor::default(), Decompressor::default());
        for method in [CompressionMethod::Lz4, CompressionMethod::Zstd] {
            let squeezed = squeeze.frame(method, &frame(&text)).unwrap()[HEAD..].to_vec();
            assert!(squeezed.len() < text.len() / 20);
            assert_eq!(open.body(method.kind(), &squeezed).unwrap(), text);
            assert!(squeeze.frame(method, &frame(&noise)).is_none());
            // Any damage that gets past the sums is an error or opens to other bytes of that length.
            for bit in 0..squeezed.len() * 8 {
                let mut harmed = squeezed.clone();
                harmed[bit / 8] ^= 1 << (bit % 8);
                if let Ok(opened) = open.body(method.kind(), &harmed) {
                    assert_eq!(opened.len(), text.len());
                }
            }
            for cut in 0..squeezed.len() {
                assert!(open.body(method.kind(), &squeezed[..cut]).is_err());
            }
        }
        assert!(squeeze.frame(CompressionMethod::None, &frame(&text)).is_none());
    }

    #[test]
    fn no_claimed_length_is_believed() {
        let mut body = (MOST_BODY + 1).to_le_bytes().to_vec();
        body.extend_from_slice(&[0; 16]);
        for kind in [FrameKind::DataLz4, FrameKind::DataZstd] {
            let mut open = Decompressor::default();
            assert!(matches!(open.body(kind, &body), Err(WireError::TooLong { .. })));
        }
        assert!(Decompressor::default().body(FrameKind::Ack, &body).is_err());
    }
}
