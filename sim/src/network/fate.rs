//! What became of frames: of one ([`Fate`]), and of all that took one direction ([`Counters`]).

use std::fmt;

macro_rules! troubles {
    ($($variant:ident $field:ident $words:literal;)*) => {
        /// What can befall a frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Trouble {
            $(
                #[doc = concat!("It was ", $words, ".")]
                $variant,
            )*
        }

        impl Trouble {
            /// Every one.
            pub const ALL: &[Trouble] = &[$(Trouble::$variant),*];

            /// As a capture's comment says it.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Trouble::$variant => $words),* }
            }
        }

        /// What one direction, and the queue before it, has done so far.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            /// Frames that went on the line, whatever became of them.
            pub sent: u64,
            /// Times that its sender was paused, by a full queue or from outside.
            pub paused: u64,
            $(
                #[doc = concat!("Frames ", $words, ".")]
                pub $field: u64,
            )*
        }

        impl Counters {
            /// Each counter's name and value, always in the same order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [("sent", self.sent), ("paused", self.paused), $((stringify!($field), self.$field)),*].into_iter()
            }

            /// Adds what another direction has done.
            pub fn add(&mut self, other: &Counters) {
                self.sent += other.sent;
                self.paused += other.paused;
                $(self.$field += other.$field;)*
            }

            pub(super) fn count(&mut self, trouble: Trouble) {
                match trouble { $(Trouble::$variant => self.$field += 1),* }
            }
        }
    };
}

troubles! {
    Cut cut "dropped by a partition";
    OverMtu over_mtu "dropped as longer than the MTU";
    Lost lost "lost";
    BurstLost burst_lost "lost in a burst";
    QueueDropped queue_dropped "dropped by a full queue";
    Duplicated duplicated "duplicated";
    Reordered reordered "held back";
    Corrupted corrupted "corrupted";
    Truncated truncated "truncated";
    Marked marked "marked CE";
}

/// All that befell one frame; nothing for plain delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate(u16);

impl Fate {
    /// Nothing befell it.
    pub const PLAIN: Fate = Fate(0);

    /// This befell it as well.
    #[must_use]
    pub fn with(self, trouble: Trouble) -> Fate {
        Fate(self.0 | 1 << trouble as u16)
    }

    /// Everything that befell either.
    #[must_use]
    pub fn and(self, other: Fate) -> Fate {
        Fate(self.0 | other.0)
    }

    /// Whether this befell it.
    #[must_use]
    pub fn has(self, trouble: Trouble) -> bool {
        self.0 & 1 << trouble as u16 != 0
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Fate::PLAIN {
            return f.write_str("delivered");
        }
        let mut separator = "";
        for trouble in Trouble::ALL.iter().filter(|trouble| self.has(**trouble)) {
            write!(f, "{separator}{}", trouble.words())?;
            separator = ", ";
        }
        Ok(())
    }
}
