//! A wire between machines: every frame that enters one port leaves the others, unless it is made to be lost.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};

use super::process::Scratch;
use super::{Error, Result, Wire};
use crate::random::Random;

/// Largest frame carried: jumbo and its headers.
const FRAME_BYTES: usize = 10 << 10;

/// How long a stuck receiver holds the sender up before the frame is lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// One end of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchPort(pub usize);

/// What happens to frames that enter by a port, each from 0 (never) to 1 (always).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Share of frames lost.
    pub drop: f64,
    /// Share of frames that leave twice.
    pub duplicate: f64,
}

/// What has passed by a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Frames that entered.
    pub frames: u64,
    /// Of these, lost on purpose.
    pub dropped: u64,
    /// Of these, sent twice on purpose.
    pub duplicated: u64,
    /// Of these, lost because the receiver was gone or stuck.
    pub undelivered: u64,
}

struct State {
    faults: Vec<Faults>,
    passed: Vec<Passed>,
    random: Random,
    capture: Option<PcapWriter<File>>,
}

impl State {
    /// How often the frame leaves.
    fn copies(&mut self, port: usize) -> usize {
        let faults = self.faults[port];
        let (drop, duplicate) = (self.random.unit() < faults.drop, self.random.unit() < faults.duplicate);
        let passed = &mut self.passed[port];
        passed.frames += 1;
        passed.dropped += u64::from(drop);
        passed.duplicated += u64::from(!drop && duplicate);
        match (drop, duplicate) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        }
    }
}

/// The switch; its threads end when it is dropped.
pub struct Switch {
    scratch: Scratch,
    state: Arc<Mutex<State>>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Where a port's two sockets are: the machine's and the switch's.
fn sockets(scratch: &Scratch, port: usize) -> (PathBuf, PathBuf) {
    (scratch.join(format!("machine{port}")), scratch.join(format!("switch{port}")))
}

impl Switch {
    /// A switch with so many ports. The same `seed` and the same frames give the same losses.
    pub fn new(ports: usize, seed: u64) -> Result<Self> {
        let scratch = Scratch::new()?;
        let state = Arc::new(Mutex::new(State {
            faults: vec![Faults::default(); ports],
            passed: vec![Passed::default(); ports],
            random: Random::new(seed),
            capture: None,
        }));
        let end = Arc::new(AtomicBool::new(false));
        let mut ends = Vec::new();
        for port in 0..ports {
            let (_, own) = sockets(&scratch, port);
            let socket = UnixDatagram::bind(&own).map_err(Error::on("binding", &own))?;
            socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(Error::on("setting up", &own))?;
            socket.set_write_timeout(Some(PATIENCE)).map_err(Error::on("setting up", &own))?;
            ends.push(socket);
        }
        let mut threads = Vec::new();
        for (port, socket) in ends.into_iter().enumerate() {
            let others = (0..ports).filter(|other| *other != port).map(|other| sockets(&scratch, other).0).collect();
            let (state, end) = (Arc::clone(&state), Arc::clone(&end));
            let thread = thread::Builder::new().name(format!("port {port}")).spawn(move || {
                forward(port, &socket, others, &state, &end);
            });
            threads.push(thread.map_err(Error::doing("starting a switch port"))?);
        }
        Ok(Self { scratch, state, end, threads })
    }

    /// What a machine on this port is built with.
    pub fn wire(&self, port: SwitchPort) -> Wire {
        let (local, remote) = sockets(&self.scratch, port.0);
        Wire::Dgram { local, remote }
    }

    /// Sets what happens from now on to frames that enter by `port`.
    pub fn set_faults(&self, port: SwitchPort, faults: Faults) {
        self.state().faults[port.0] = faults;
    }

    /// Counts of frames that entered by `port`.
    pub fn passed(&self, port: SwitchPort) -> Passed {
        self.state().passed[port.0]
    }

    /// Writes every frame that enters, lost ones too, to the pcap file `path`.
    pub fn capture(&self, path: &Path) -> Result<()> {
        let file = File::create(path).map_err(Error::on("creating", path))?;
        let header = PcapHeader {
            version_major: 2,
            version_minor: 4,
            ts_correction: 0,
            ts_accuracy: 0,
            snaplen: u32::try_from(FRAME_BYTES).expect("a frame is small"),
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::native(),
        };
        let writer = PcapWriter::with_header(file, header)
            .map_err(|error| Error::Unexpected(format!("writing {}: {error}", path.display())))?;
        self.state().capture = Some(writer);
        Ok(())
    }

    /// Ends the capture.
    pub fn end_capture(&self) {
        self.state().capture = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn forward(port: usize, socket: &UnixDatagram, others: Vec<PathBuf>, state: &Mutex<State>, end: &AtomicBool) {
    let mut frame = vec![0; FRAME_BYTES];
    while !end.load(Ordering::Relaxed) {
        let length = match socket.recv(&mut frame) {
            Ok(length) => length,
            // ConnectionReset: a machine that this port sent to has gone. The next one takes its place.
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionReset => continue,
                _ => return,
            },
        };
        let frame = &frame[..length];
        let copies = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(capture) = &mut state.capture {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let length = u32::try_from(length).expect("a frame is small");
                // A full disk costs the capture, not the traffic.
                let _ = capture.write_packet(&PcapPacket::new(now, length, frame));
            }
            state.copies(port)
        };
        for _ in 0..copies {
            for other in &others {
                if socket.send_to(frame, other).is_err() {
                    state.lock().unwrap_or_else(PoisonError::into_inner).passed[port].undelivered += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(switch: &Switch) -> [(UnixDatagram, PathBuf); 2] {
        [0, 1].map(|port| {
            let Wire::Dgram { local, remote } = switch.wire(SwitchPort(port)) else {
                panic!("a switch's wire is dgram")
            };
            let socket = UnixDatagram::bind(local).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
            (socket, remote)
        })
    }

    fn send_200(seed: u64, faults: Faults) -> (Vec<u8>, Passed) {
        let switch = Switch::new(2, seed).expect("a switch");
        switch.set_faults(SwitchPort(0), faults);
        let [(near, entry), (far, _)] = ends(&switch);
        let sender = thread::spawn(move || {
            for number in 0..200 {
                near.send_to(&[number; 60], &entry).expect("the switch reads");
            }
        });
        let mut seen = Vec::new();
        let mut frame = [0; 100];
        while let Ok(length) = far.recv(&mut frame) {
            assert_eq!(length, 60);
            seen.push(frame[0]);
        }
        sender.join().expect("the sender ends well");
        (seen, switch.passed(SwitchPort(0)))
    }

    #[test]
    fn a_clean_wire_keeps_every_frame_in_order() {
        let (seen, passed) = send_200(1, Faults::default());
        assert_eq!(seen, Vec::from_iter(0..200));
        assert_eq!(passed, Passed { frames: 200, ..Passed::default() });
    }

    #[test]
    fn losses_follow_the_seed() {
        let faults = Faults { drop: 0.1, duplicate: 0.1 };
        let (first, passed) = send_200(7, faults);
        assert!(passed.dropped > 5 && passed.duplicated > 5, "{passed:?}");
        assert_eq!(first.len() as u64, 200 - passed.dropped + passed.duplicated);
        assert_eq!(send_200(7, faults), (first.clone(), passed));
        assert_ne!(send_200(8, faults).0, first);
    }

    #[test]
    fn a_capture_holds_what_entered() {
        let scratch = Scratch::new().expect("a folder");
        let path = scratch.join("all.pcap");
        let switch = Switch::new(2, 1).expect("a switch");
        switch.capture(&path).expect("a capture");
        switch.set_faults(SwitchPort(0), Faults { drop: 1.0, duplicate: 0.0 });
        let [(near, entry), (far, _)] = ends(&switch);
        near.send_to(b"lost on the way", &entry).expect("the switch reads");
        assert!(far.recv(&mut [0; 100]).is_err());
        switch.end_capture();
        let file = File::open(&path).expect("the capture");
        let mut reader = pcap_file::pcap::PcapReader::new(file).expect("a pcap file");
        assert_eq!(&*reader.next_packet().expect("a frame").expect("well formed").data, b"lost on the way");
        assert!(reader.next_packet().is_none());
    }
}
