//! Named accessors for the fields that the CM messages pack into less than a byte, or into 20 or 24 bits of a word.

use zerocopy::byteorder::big_endian::U32;

/// A word that packed fields live in.
pub(super) trait Word: Copy {
    fn load(self) -> u32;
    fn store(word: u32) -> Self;
}

impl Word for u8 {
    fn load(self) -> u32 {
        self.into()
    }
    fn store(word: u32) -> Self {
        word as u8
    }
}

impl Word for U32 {
    fn load(self) -> u32 {
        self.get()
    }
    fn store(word: u32) -> Self {
        U32::new(word)
    }
}

pub(super) fn extract<W: Word>(word: W, shift: u32, width: u32) -> u32 {
    (word.load() >> shift) & ((1 << width) - 1)
}

/// Panics when `value` does not fit: a sender's own mistake.
pub(super) fn insert<W: Word>(word: W, shift: u32, width: u32, value: u32) -> W {
    let mask = (1 << width) - 1;
    assert!(value <= mask, "{value:#x} does not fit in {width} bits");
    W::store((word.load() & !(mask << shift)) | (value << shift))
}

/// `field[shift; width] => reader, writer: type` makes two methods; bit 0 is the word's least significant.
macro_rules! packed {
    ($($(#[$doc:meta])* $word:ident [$shift:literal; $width:literal] => $name:ident, $set:ident: $type:ty;)+) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> $type {
                super::bits::extract(self.$word, $shift, $width) as $type
            }

            #[doc = concat!("Sets [`Self::", stringify!($name), "`]; panics when the value does not fit.")]
            pub fn $set(&mut self, value: $type) -> &mut Self {
                self.$word = super::bits::insert(self.$word, $shift, $width, value.into());
                self
            }
        )+
    };
}
pub(super) use packed;
