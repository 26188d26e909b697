//! The network between hosts and cards: one store-and-forward switch, and a link to it for each station.
//!
//! A frame waits in its station's queue, goes over the line to the switch, waits in the switch's queue for the station
//! that it is for, goes over that line and has arrived. What befalls it is drawn from the network's seed, for each
//! direction from a generator of its own. The caller hands in the time; what happens at the same instant happens in the
//! order in which it was planned.
//!
//! | file | what |
//! |---|---|
//! | `weather` | how a direction and its queue behave |
//! | `direction` | one direction of a link |
//! | `ip` | what the switch looks at in a frame |
//! | `fate` | what became of frames |
//! | [`capture`] | the last frames, for Wireshark |

pub mod capture;
mod direction;
mod fate;
mod ip;
#[cfg(test)]
mod tests;
mod weather;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::io;

use gantry_host_wire::ethernet::{self, Mac};
use gantry_pipeline::tables::mix;

use capture::Capture;
pub use direction::Direction;
use direction::Frame;
pub use fate::{Counters, Fate, Trouble};
pub use weather::{Queue, Weather};

/// A station of a [`Network`], in the order of attaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StationId(pub u32);

impl StationId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A direction of a station's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the station to the switch.
    Up,
    /// From the switch to the station.
    Down,
}

struct Station {
    name: String,
    up: Direction,
    down: Direction,
    inbox: VecDeque<Vec<u8>>,
    /// Stations that the switch's queue for this one holds back.
    holds: BTreeSet<StationId>,
}

impl Station {
    fn direction(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }
}

/// What is planned.
struct Event {
    at_ns: u64,
    sequence: u64,
    station: StationId,
    way: Way,
    /// The frame that reaches the direction's far end; with none, the direction is to be looked at.
    frame: Option<Frame>,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The earliest is the greatest, for the heap.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ns, other.sequence).cmp(&(self.at_ns, self.sequence))
    }
}

/// The switch and all links.
///
/// The switch knows the addresses given to [`Network::attach`], learns no others and forgets none: a frame to one of them
/// reaches that station alone. All else, group addresses and unknown ones, goes to every other station.
pub struct Network {
    seed: u64,
    now_ns: u64,
    sequence: u64,
    stations: Vec<Station>,
    by_mac: BTreeMap<Mac, StationId>,
    events: BinaryHeap<Event>,
    /// Stations whose inbox holds something.
    ready: BTreeSet<StationId>,
    in_flight: usize,
    /// Where frames are recorded, when they are. Recording changes nothing else.
    pub capture: Option<Capture>,
}

impl Network {
    /// A switch without stations, whose trouble `seed` draws.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now_ns: 0,
            sequence: 0,
            stations: Vec::new(),
            by_mac: BTreeMap::new(),
            events: BinaryHeap::new(),
            ready: BTreeSet::new(),
            in_flight: 0,
            capture: None,
        }
    }

    /// Links a station to the switch, in fair weather. It is called `station N` until [`Network::name`] says better. An
    /// address that another station has moves to this one, as when a machine is replaced.
    ///
    /// # Panics
    /// When the address is a group's.
    pub fn attach(&mut self, mac: Mac) -> StationId {
        let id = StationId(u32::try_from(self.stations.len()).expect("few stations"));
        assert!(mac[0] & 1 == 0, "a station's address is not a group's");
        self.by_mac.insert(mac, id);
        let seed = |way: u64| mix(self.seed ^ mix(u64::from(id.0) << 1 | way));
        self.stations.push(Station {
            name: format!("station {}", id.0),
            up: Direction::new(seed(0), Weather::FAIR),
            down: Direction::new(seed(1), Weather::FAIR),
            inbox: VecDeque::new(),
            holds: BTreeSet::new(),
        });
        id
    }

    /// Says what a station is called, in captures.
    pub fn name(&mut self, station: StationId, name: impl Into<String>) {
        self.stations[station.index()].name = name.into();
    }

    /// A station sends a frame, without its FCS.
    ///
    /// # Panics
    /// When the frame is shorter than an Ethernet header: no NIC sends that.
    pub fn send(&mut self, now_ns: u64, station: StationId, frame: &[u8]) {
        assert!(frame.len() >= ethernet::LEN, "a frame begins with an Ethernet header");
        self.advance(now_ns);
        let destination = frame[..6].try_into().expect("six bytes");
        self.in_flight += 1;
        self.enqueue(station, Way::Up, station, Frame { bytes: frame.to_vec(), destination, fate: Fate::PLAIN });
    }

    /// Does all that is due by `now_ns`. Time that goes back stands still.
    pub fn advance(&mut self, now_ns: u64) {
        while self.events.peek().is_some_and(|event| event.at_ns <= now_ns) {
            let Event { at_ns, station, way, frame, .. } = self.events.pop().expect("peeked at");
            self.now_ns = self.now_ns.max(at_ns);
            match frame {
                Some(frame) => self.arrive(station, way, frame),
                None => {
                    let direction = self.stations[station.index()].direction(way);
                    if direction.wake_ns == at_ns {
                        direction.wake_ns = u64::MAX;
                    }
                    self.start(station, way);
                }
            }
        }
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// The next frame that has arrived at this station by `now_ns`.
    pub fn receive(&mut self, now_ns: u64, station: StationId) -> Option<Vec<u8>> {
        self.advance(now_ns);
        let inbox = &mut self.stations[station.index()].inbox;
        let frame = inbox.pop_front()?;
        if inbox.is_empty() {
            self.ready.remove(&station);
        }
        self.in_flight -= 1;
        Some(frame)
    }

    /// A frame that has arrived anywhere by `now_ns`: the first of the lowest station that has one. Costs nothing for
    /// stations that have none.
    pub fn next_arrival(&mut self, now_ns: u64) -> Option<(StationId, Vec<u8>)> {
        self.advance(now_ns);
        let station = *self.ready.first()?;
        Some((station, self.receive(now_ns, station).expect("a station that is ready has a frame")))
    }

    /// When something moves next: at once when frames wait to be received, `u64::MAX` when all is quiet.
    #[must_use]
    pub fn next_ns(&self) -> u64 {
        if !self.ready.is_empty() {
            return self.now_ns;
        }
        self.events.peek().map_or(u64::MAX, |event| event.at_ns)
    }

    /// Frames sent, or copied on the way, that are neither received nor dropped.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Both directions of a station's link: to the switch, to the station.
    pub fn link(&mut self, station: StationId) -> (&mut Direction, &mut Direction) {
        let station = &mut self.stations[station.index()];
        (&mut station.up, &mut station.down)
    }

    /// Pauses one direction of a link from now on, in place of any pause before; 0 ends it. [`Way::Up`]: the station may
    /// not send, as when the switch says so without end. [`Way::Down`]: the switch may not send to it, as when the station
    /// says so: a PFC storm, which spreads from a full queue with [`Queue::pfc`] to all who feed it. What is on the line
    /// still arrives.
    pub fn pause(&mut self, now_ns: u64, station: StationId, way: Way, for_ns: u64) {
        self.advance(now_ns);
        let direction = self.stations[station.index()].direction(way);
        direction.counters.paused += u64::from(for_ns > 0);
        direction.paused_until_ns = now_ns.saturating_add(for_ns);
        self.start(station, way);
    }

    /// What all directions have done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for station in &self.stations {
            sum.add(&station.up.counters);
            sum.add(&station.down.counters);
        }
        sum
    }

    /// Writes what [`Network::capture`] holds as a pcapng file with an interface for each station; an empty one when
    /// nothing is captured.
    ///
    /// # Errors
    /// What `out` answers.
    pub fn write_pcapng(&self, out: impl io::Write) -> io::Result<()> {
        let names = self.stations.iter().map(|station| station.name.as_str());
        capture::write_pcapng(out, names, self.capture.iter().flat_map(Capture::records))
    }

    /// Puts a frame from `feeder` before a line.
    fn enqueue(&mut self, station: StationId, way: Way, feeder: StationId, frame: Frame) {
        let direction = self.stations[station.index()].direction(way);
        let lossless = way == Way::Down && direction.queue.pfc;
        if let Err(dropped) = direction.enqueue(frame, lossless) {
            self.lose(station, way, &dropped);
            return;
        }
        self.start(station, way);
        let to = &mut self.stations[station.index()];
        if way == Way::Down && to.down.is_over_full() && to.holds.insert(feeder) {
            let held = &mut self.stations[feeder.index()].up;
            held.held_by += 1;
            held.counters.paused += u64::from(held.held_by == 1);
        }
    }

    /// Puts on the line what can go on it.
    fn start(&mut self, station: StationId, way: Way) {
        let now_ns = self.now_ns;
        loop {
            let direction = self.stations[station.index()].direction(way);
            match direction.start(now_ns) {
                Ok((frame, left_ns)) => self.depart(station, way, frame, left_ns),
                Err(wake_ns) => {
                    if wake_ns < direction.wake_ns {
                        direction.wake_ns = wake_ns;
                        self.plan(wake_ns, station, way, None);
                    }
                    break;
                }
            }
        }
        let from = &mut self.stations[station.index()];
        if way == Way::Down && !from.holds.is_empty() && from.down.has_room() {
            for feeder in std::mem::take(&mut from.holds) {
                self.stations[feeder.index()].up.held_by -= 1;
                self.start(feeder, Way::Up);
            }
        }
    }

    /// A frame is on the line, which it has left at `left_ns`.
    fn depart(&mut self, station: StationId, way: Way, mut frame: Frame, left_ns: u64) {
        let verdict = self.stations[station.index()].direction(way).judge(&frame.bytes, left_ns);
        let [Some(first), second] = verdict.copies else {
            frame.fate = frame.fate.and(verdict.fate);
            self.lose(station, way, &frame);
            return;
        };
        if way == Way::Up {
            self.record(station, way, frame.fate.and(verdict.fate), &frame.bytes);
        }
        if let Some(second) = second {
            let mut copy = frame.clone();
            second.apply(&mut copy);
            self.in_flight += 1;
            // Behind the first one when both arrive at once.
            first.apply(&mut frame);
            self.plan(first.arrival_ns, station, way, Some(frame));
            self.plan(second.arrival_ns, station, way, Some(copy));
        } else {
            first.apply(&mut frame);
            self.plan(first.arrival_ns, station, way, Some(frame));
        }
    }

    /// A frame is at the far end of a line.
    fn arrive(&mut self, station: StationId, way: Way, mut frame: Frame) {
        let direction = self.stations[station.index()].direction(way);
        if direction.weather.cut {
            direction.counters.cut += 1;
            frame.fate = frame.fate.with(Trouble::Cut);
            self.lose(station, way, &frame);
        } else if way == Way::Up {
            self.forward(station, frame);
        } else {
            self.record(station, way, frame.fate, &frame.bytes);
            self.stations[station.index()].inbox.push_back(frame.bytes);
            self.ready.insert(station);
        }
    }

    /// The switch's part. What comes from where it should go, goes nowhere.
    fn forward(&mut self, from: StationId, frame: Frame) {
        if let Some(to) = self.by_mac.get(&frame.destination).copied() {
            if to == from {
                self.in_flight -= 1;
            } else {
                self.enqueue(to, Way::Down, from, frame);
            }
            return;
        }
        self.in_flight += self.stations.len() - 1;
        for to in (0..self.stations.len() as u32).map(StationId).filter(|to| *to != from) {
            self.enqueue(to, Way::Down, from, frame.clone());
        }
        self.in_flight -= 1;
    }

    fn lose(&mut self, station: StationId, way: Way, frame: &Frame) {
        self.in_flight -= 1;
        self.record(station, way, frame.fate, &frame.bytes);
    }

    fn record(&mut self, station: StationId, way: Way, fate: Fate, bytes: &[u8]) {
        if let Some(capture) = &mut self.capture {
            capture.record(self.now_ns, station, way, fate, bytes);
        }
    }

    fn plan(&mut self, at_ns: u64, station: StationId, way: Way, frame: Option<Frame>) {
        self.sequence += 1;
        self.events.push(Event { at_ns, sequence: self.sequence, station, way, frame });
    }
}
