//! Frames of HTTP/2 as they come: how long the head of a request may be, and since when one has been coming.
//!
//! The library below the framework lets a head be 16 MiB, and fields that take one byte on the wire take a hundred in
//! memory. Nor does it mind how long a head takes. So the heads of frames are read along (RFC 9113 section 4.1), and
//! nothing else of them.

use tokio::time::Instant;

/// What a client says first (RFC 9113 section 3.4).
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The longest head of a request on the wire. It is little more than a megabyte in memory at the very worst.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// A head is longer than any of good faith.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Where in the frames of a connection we are.
pub(super) struct Frames {
    /// How much there is to come before the next frame.
    rest: usize,
    /// What has come of the next frame's own head.
    frame: Vec<u8>,
    /// The head of a request that has been begun and not ended.
    coming: Option<Coming>,
}

struct Coming {
    length: usize,
    since: Instant,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            rest: PREFACE,
            frame: Vec::with_capacity(FRAME_HEAD),
            coming: None,
        }
    }

    /// Since when the head of a request has been coming, where one has been begun and not ended.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.coming.as_ref().map(|coming| coming.since)
    }

    /// Takes note of what has come.
    ///
    /// # Errors
    /// [`TooLong`], as soon as it is announced.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let wanted = if self.rest > 0 {
                self.rest
            } else {
                FRAME_HEAD - self.frame.len()
            };
            let (these, others) = bytes.split_at(wanted.min(bytes.len()));
            bytes = others;
            if self.rest > 0 {
                self.rest -= these.len();
            } else {
                self.frame.extend_from_slice(these);
                self.begin_frame()?;
            }
        }
        Ok(())
    }

    /// Reads the head of a frame, once it is there.
    fn begin_frame(&mut self) -> Result<(), TooLong> {
        let &[high, middle, low, kind, flags, _, _, _, _] = self.frame.as_slice() else {
            return Ok(());
        };
        self.frame.clear();
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.rest = length;
        if !matches!(kind, HEADERS | CONTINUATION) {
            return Ok(());
        }
        let (before, since) = match &self.coming {
            Some(coming) => (coming.length, coming.since),
            None => (0, Instant::now()),
        };
        let length = before + length;
        if length > MAX_HEAD {
            return Err(TooLong);
        }
        let is_last = flags & END_HEADERS != 0;
        self.coming = (!is_last).then_some(Coming { length, since });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: u8 = 0;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [.., high, middle, low] = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.resize(FRAME_HEAD + length, HEADERS);
        frame
    }

    /// What comes of frames after the preface; whether a head has been begun and not ended.
    fn followed(frames: &[Vec<u8>], part: usize) -> Result<bool, TooLong> {
        let mut sent = vec![HEADERS; PREFACE];
        sent.extend(frames.concat());
        let mut followed = Frames::new();
        for part in sent.chunks(part) {
            followed.follow(part)?;
        }
        Ok(followed.head_since().is_some())
    }

    #[test]
    fn a_head_has_been_begun_until_its_end_however_the_bytes_come() {
        for part in [1, 2, 7, 9, 10, 1_000, 100_000] {
            let mut frames = vec![frame(4, END_HEADERS, 6), frame(HEADERS, END_HEADERS, 200)];
            assert_eq!(followed(&frames, part), Ok(false));
            frames.push(frame(HEADERS, 0, 300));
            assert_eq!(followed(&frames, part), Ok(true));
            frames.push(frame(CONTINUATION, 0, 0));
            assert_eq!(followed(&frames, part), Ok(true));
            frames.push(frame(CONTINUATION, END_HEADERS, 100));
            assert_eq!(followed(&frames, part), Ok(false));
            frames.push(frame(DATA, 0, 2 * MAX_HEAD));
            assert_eq!(followed(&frames, part), Ok(false));
        }
    }

    #[test]
    fn a_head_is_too_long_in_one_frame_or_in_many() {
        let half = MAX_HEAD / 2;
        let frames = [frame(HEADERS, 0, half), frame(CONTINUATION, END_HEADERS, half)];
        assert_eq!(followed(&frames, 1_000), Ok(false));
        let frames = [
            frame(HEADERS, 0, half),
            frame(CONTINUATION, END_HEADERS, half + 1),
        ];
        assert_eq!(followed(&frames, 1_000), Err(TooLong));
        let announced = frame(HEADERS, END_HEADERS, MAX_HEAD + 1);
        let mut head_alone = announced;
        head_alone.truncate(FRAME_HEAD);
        assert_eq!(followed(&[head_alone], 1_000), Err(TooLong));
        let many = [
            frame(HEADERS, END_HEADERS, half),
            frame(HEADERS, END_HEADERS, half),
            frame(HEADERS, 0, half),
        ];
        assert_eq!(followed(&many, 1_000), Ok(true), "each is one of its own");
    }
}
