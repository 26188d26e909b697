//! Externs for tests: counts, keeps what digests and calls said, computes checksums and hashes, and answers as it was told to.

use std::collections::BTreeMap;
use std::fmt;

use crate::interpret::{Call, Cell, Externs, Passed, Reply};
use crate::ir::{ExternId, ExternKind, Program};

/// What a counter's cell holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A call that nothing here knows how to answer but by script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Of which instance.
    pub instance: Option<ExternId>,
    /// Its name.
    pub function: String,
    /// What was passed.
    pub arguments: Vec<u128>,
}

/// An answer by script.
type Answer = Box<dyn FnMut(&Call<'_>) -> Reply>;

/// The externs of the Portable NIC Architecture (0.7 §7) as a test wants them. Of `Hash` there is CRC-32 in its form with data alone:
/// flattened, the form with base and limit looks the same.
#[derive(Default)]
pub struct Recorder {
    /// Counters' cells.
    pub counts: BTreeMap<(ExternId, Cell), Count>,
    /// Meters' cells that are not green, by what represents their colour.
    pub colours: BTreeMap<(ExternId, Cell), u128>,
    /// What represents green.
    pub green: u128,
    /// Digests, in order.
    pub digests: Vec<(ExternId, Vec<u128>)>,
    /// Registers' cells that are not zero.
    pub registers: BTreeMap<(ExternId, u128), u128>,
    /// Calls of functions and of the project's own externs, in order.
    pub calls: Vec<Recorded>,
    answers: BTreeMap<String, Answer>,
    /// Ones' complement sums of `InternetChecksum`s, for one packet.
    sums: BTreeMap<ExternId, u16>,
}

impl Recorder {
    /// For a program: every meter green, by the value that the program's enum of colours gives it.
    #[must_use]
    pub fn new(program: &Program) -> Self {
        let members =
            program.enums.iter().filter(|each| each.name.ends_with("MeterColor_t")).flat_map(|each| &each.members);
        let green = members.filter(|(name, _)| name == "GREEN").map(|(_, value)| *value).next();
        Self { green: green.unwrap_or_default(), ..Self::default() }
    }

    /// Answers calls of a function, or of a method of one of the project's own externs, from now on.
    pub fn answer(&mut self, function: &str, answer: impl FnMut(&Call<'_>) -> Reply + 'static) {
        self.answers.insert(function.to_owned(), Box::new(answer));
    }

    /// What a cell counted.
    #[must_use]
    pub fn count(&self, counter: ExternId, cell: Cell) -> Count {
        self.counts.get(&(counter, cell)).copied().unwrap_or_default()
    }

    fn add(&mut self, counter: ExternId, cell: Cell, bytes: usize) -> Reply {
        let count = self.counts.entry((counter, cell)).or_default();
        count.packets += 1;
        count.bytes += bytes as u64;
        Reply::default()
    }

    fn colour(&self, meter: ExternId, cell: Cell) -> Reply {
        Reply::value(self.colours.get(&(meter, cell)).copied().unwrap_or(self.green))
    }

    /// `read` and `write`; outside of the register the one gives zero and the other does nothing.
    fn register(&mut self, id: ExternId, size: u32, call: &Call<'_>) -> Reply {
        let index = call.arguments[0].value;
        match call.function {
            "read" => Reply::value(self.registers.get(&(id, index)).copied().unwrap_or_default()),
            "write" => {
                if index < u128::from(size) {
                    self.registers.insert((id, index), call.arguments[1].value);
                }
                Reply::default()
            }
            other => panic!("Register has no method {other}"),
        }
    }

    /// RFC 1071: the ones' complement of the ones' complement sum of 16-bit words. A last odd byte counts as a word's first.
    fn checksum(&mut self, id: ExternId, call: &Call<'_>) -> Reply {
        let sum = self.sums.entry(id).or_default();
        let bytes = bytes(&call.arguments);
        let words = bytes.chunks(2).map(|word| u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
        match call.function {
            "clear" => *sum = 0,
            "add" => *sum = words.fold(*sum, ones_complement_sum),
            "subtract" => *sum = words.fold(*sum, |sum, word| ones_complement_sum(sum, !word)),
            "get" => return Reply::value((!*sum).into()),
            "get_state" => return Reply::value((*sum).into()),
            "set_state" => *sum = call.arguments[0].value as u16,
            other => panic!("InternetChecksum has no method {other}"),
        }
        Reply::default()
    }
}

impl Externs for Recorder {
    fn start(&mut self) {
        self.sums.clear();
    }

    fn call(&mut self, call: &Call<'_>) -> Reply {
        let index = || Cell::Index(call.arguments.first().expect("an index").value);
        let own_cell = || call.cell.expect("direct externs are called by actions of their table");
        let within = |size: u32| matches!(index(), Cell::Index(at) if at < u128::from(size));
        match call.instance.map(|(id, instance)| (id, &instance.kind)) {
            Some((id, ExternKind::Counter { size, .. })) if within(*size) => self.add(id, index(), call.packet_bytes),
            // Beyond the last cell nothing is counted.
            Some((_, ExternKind::Counter { .. })) => Reply::default(),
            Some((id, ExternKind::DirectCounter { .. })) => self.add(id, own_cell(), call.packet_bytes),
            Some((id, ExternKind::Meter { .. })) => self.colour(id, index()),
            Some((id, ExternKind::DirectMeter { .. })) => self.colour(id, own_cell()),
            Some((id, ExternKind::Register { size, .. })) => self.register(id, *size, call),
            Some((id, ExternKind::Digest { .. })) => {
                self.digests.push((id, call.arguments.iter().map(|passed| passed.value).collect()));
                Reply::default()
            }
            Some((_, ExternKind::Hash { algorithm, .. })) => {
                assert!(algorithm.ends_with("CRC32"), "no hash {algorithm} here: script an extern of its own");
                Reply::value(crc32fast::hash(&bytes(&call.arguments)).into())
            }
            Some((id, ExternKind::InternetChecksum)) => self.checksum(id, call),
            Some((_, ExternKind::Other { .. })) | None => {
                self.calls.push(Recorded {
                    instance: call.instance.map(|(id, _)| id),
                    function: call.function.to_owned(),
                    arguments: call.arguments.iter().map(|passed| passed.value).collect(),
                });
                self.answers.get_mut(call.function).map_or_else(Reply::default, |answer| answer(call))
            }
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("counts", &self.counts)
            .field("digests", &self.digests)
            .field("registers", &self.registers)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// Data as checksums and hashes take it: all bits one behind the other, zeros behind the last up to a whole byte.
fn bytes(data: &[Passed]) -> Vec<u8> {
    let mut bits: Vec<u8> = Vec::new();
    for passed in data {
        bits.extend((0..passed.ty.bits()).rev().map(|bit| (passed.value >> bit & 1) as u8));
    }
    bits.resize(bits.len().next_multiple_of(8), 0);
    bits.chunks(8).map(|byte| byte.iter().fold(0, |value, bit| value << 1 | bit)).collect()
}

fn ones_complement_sum(left: u16, right: u16) -> u16 {
    let (sum, carry) = left.overflowing_add(right);
    sum + u16::from(carry)
}
