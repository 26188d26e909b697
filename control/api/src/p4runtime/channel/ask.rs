//! Questions as the channel asks them: many of one kind in one request.

use gantry::channel::table::{
    ABSENT, COUNTERS_MAX, CounterRead, CounterValue, Entry as Record, TableDump, TableEntries,
};
use gantry::channel::{FRAME_MAX, Header, Kind};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::super::entry::Counts;
use super::super::plane::{Answer, Question};
use super::super::status::{Code, Refusal};
use super::form;

/// Bytes of entries in one request.
const ROOM: usize = FRAME_MAX - size_of::<Header>() - size_of::<CounterRead>();

/// Questions that wait for their answers.
pub(super) struct Asked {
    pub(super) answers: Vec<Answer>,
    left: usize,
}

/// One request, and which questions it is about: those at `at`, in their order.
pub(super) struct Part {
    at: Vec<usize>,
    what: What,
}

enum What {
    Cells {
        counter: u32,
        first: u32,
    },
    /// Of which table, and the entries.
    Direct(u32, Vec<u8>),
    SinceHit(u32, Vec<u8>),
    Dump(u32, u64),
}

impl Asked {
    /// The requests that answer the questions. What the data plane does not count is answered at once.
    pub(super) fn new(questions: Vec<Question>) -> (Self, Vec<Part>) {
        let answers = vec![Answer::Nothing; questions.len()];
        let mut parts: Vec<Part> = Vec::new();
        for (at, question) in questions.into_iter().enumerate() {
            let what = match question {
                Question::Counter(counter, cell) => What::Cells { counter: counter.0, first: cell },
                Question::DirectCounter(table, of) => What::Direct(table.0, form::place(table, &of)),
                Question::SinceLastHit(table, key) => {
                    What::SinceHit(table.0, form::place(table, &super::At::Entry(key)))
                }
                Question::Entries(table, from) => What::Dump(table.0, from),
                Question::MeterCounts(..) | Question::DirectMeterCounts(..) | Question::Register(..) => continue,
            };
            // Questions of one kind come one after another, mostly, but those about an entry alternate.
            let recent = parts.len().saturating_sub(2);
            match parts[recent..].iter_mut().find(|part| part.takes(&what)) {
                Some(part) => part.add(at, what),
                None => parts.push(Part { at: vec![at], what }),
            }
        }
        (Self { answers, left: parts.len() }, parts)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Takes the answer to a part. One that names nothing there is no failure.
    pub(super) fn take(&mut self, part: &Part, answer: Result<(Kind, &[u8]), Refusal>) -> Result<(), Refusal> {
        self.left -= 1;
        let (kind, bytes) = match answer {
            Ok(answer) => answer,
            Err(Refusal { code: Code::NotFound, .. }) => return Ok(()),
            Err(refusal) => return Err(refusal),
        };
        let senseless = || Refusal::new(Code::Internal, format!("the data plane's answer {kind:?} makes no sense"));
        match (&part.what, kind) {
            (What::Cells { .. } | What::Direct(..), Kind::Counters) => {
                let values = <[CounterValue]>::ref_from_bytes(bytes).map_err(|_| senseless())?;
                if values.len() != part.at.len() {
                    return Err(senseless());
                }
                for (at, value) in part.at.iter().zip(values) {
                    let (packets, bytes) = (value.packets.get(), value.bytes.get());
                    if (packets, bytes) != (ABSENT, ABSENT) {
                        self.answers[*at] = Answer::Counts(Counts { bytes, packets });
                    }
                }
            }
            (What::SinceHit(..), Kind::Hits) => {
                let values = <[U64]>::ref_from_bytes(bytes).map_err(|_| senseless())?;
                if values.len() != part.at.len() {
                    return Err(senseless());
                }
                for (at, value) in part.at.iter().zip(values).filter(|(_, value)| value.get() != ABSENT) {
                    self.answers[*at] = Answer::Nanoseconds(value.get());
                }
            }
            (What::Dump(table, _), Kind::TableEntries) => {
                let (head, rest) = TableEntries::ref_from_prefix(bytes).map_err(|_| senseless())?;
                let entries = Record::parse_all(rest).map_err(|_| senseless())?;
                let ours = entries.iter().filter(|entry| entry.head.table.get() == *table);
                let entries = ours.filter_map(|entry| Some((form::key(entry), form::call(entry)?))).collect();
                let next = Some(head.next.get()).filter(|next| *next != ABSENT);
                self.answers[part.at[0]] = Answer::Entries(entries, next);
            }
            _ => return Err(senseless()),
        }
        Ok(())
    }
}

impl Part {
    /// Whether `what` can be asked in the same request.
    fn takes(&self, what: &What) -> bool {
        match (&self.what, what) {
            (What::Cells { counter, first }, What::Cells { counter: other, first: cell }) => {
                counter == other
                    && self.at.len() < COUNTERS_MAX
                    && first.checked_add(self.at.len() as u32) == Some(*cell)
            }
            (What::Direct(table, entries), What::Direct(other, entry))
            | (What::SinceHit(table, entries), What::SinceHit(other, entry)) => {
                table == other && entries.len() + entry.len() <= ROOM
            }
            _ => false,
        }
    }

    fn add(&mut self, at: usize, what: What) {
        self.at.push(at);
        if let (
            What::Direct(_, entries) | What::SinceHit(_, entries),
            What::Direct(_, entry) | What::SinceHit(_, entry),
        ) = (&mut self.what, what)
        {
            entries.extend(entry);
        }
    }

    /// The frame: its kind, and body with tail.
    pub(super) fn request(&self) -> (Kind, Vec<u8>) {
        let read = |object: u32, first: u32, count: u32| CounterRead {
            object: U32::new(object),
            first: U32::new(first),
            count: U32::new(count),
            reserved: U32::ZERO,
        };
        match &self.what {
            What::Cells { counter, first } => {
                (Kind::CounterRead, read(*counter, *first, self.at.len() as u32).as_bytes().to_vec())
            }
            What::Direct(table, entries) => (Kind::CounterRead, [read(*table, 0, 0).as_bytes(), entries].concat()),
            What::SinceHit(_, entries) => (Kind::SinceHit, entries.clone()),
            What::Dump(table, from) => {
                let dump = TableDump { table: U32::new(*table), reserved: U32::ZERO, from: U64::new(*from) };
                (Kind::TableDump, dump.as_bytes().to_vec())
            }
        }
    }
}
