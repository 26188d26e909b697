//! Where MSI-X vectors go: an eventfd each, a mask each, and what was raised while masked. VFIO's semantics of
//! VFIO_DEVICE_SET_IRQS, which the protocol takes over; masking as PCI Local Bus 3.0 §6.8.2.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use gantry_vfio_user::message::{SetIrqs, irq};

/// The vectors of a function.
#[derive(Debug)]
pub(crate) struct Vectors(Vec<Vector>);

#[derive(Debug, Default)]
struct Vector {
    target: Option<OwnedFd>,
    masked: bool,
    pending: bool,
}

impl Vectors {
    /// Vectors that go nowhere.
    pub(crate) fn new(count: u16) -> Self {
        Self((0..count).map(|_| Vector::default()).collect())
    }

    /// All go nowhere again.
    pub(crate) fn clear(&mut self) {
        self.0.fill_with(Vector::default);
    }

    /// Raises a vector, or remembers it while it is masked.
    pub(crate) fn raise(&mut self, vector: u16) {
        if let Some(vector) = self.0.get_mut(usize::from(vector)) {
            vector.raise();
        }
    }

    /// Does what DEVICE_SET_IRQS asks for; `data` follows the command, `fds` came with it.
    pub(crate) fn set(&mut self, set: &SetIrqs, data: &[u8], fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let flags = set.flags.get();
        let (start, count) = (set.start.get() as usize, set.count.get() as usize);
        let until = start.checked_add(count).filter(|&until| until <= self.0.len()).ok_or(Errno::INVAL)?;
        // No vectors and no data: the kind of interrupt is turned off.
        if flags == irq::DATA_NONE | irq::ACTION_TRIGGER && count == 0 {
            self.clear();
            return Ok(());
        }
        let chosen = &mut self.0[start..until];
        let action = flags & (irq::ACTION_MASK | irq::ACTION_UNMASK | irq::ACTION_TRIGGER);
        match flags & !action {
            irq::DATA_EVENTFD if action == irq::ACTION_TRIGGER && (fds.len() == count || fds.is_empty()) => {
                let mut fds = fds.into_iter();
                chosen.iter_mut().for_each(|vector| vector.target = fds.next());
                Ok(())
            }
            irq::DATA_NONE => chosen.iter_mut().try_for_each(|vector| vector.act(action)),
            irq::DATA_BOOL if data.len() >= count => {
                let asked = chosen.iter_mut().zip(data).filter(|(_, wanted)| **wanted != 0);
                asked.map(|(vector, _)| vector).try_for_each(|vector| vector.act(action))
            }
            _ => Err(Errno::INVAL),
        }
    }
}

impl Vector {
    fn act(&mut self, action: u32) -> Result<(), Errno> {
        match action {
            irq::ACTION_TRIGGER => self.raise(),
            irq::ACTION_MASK => self.masked = true,
            irq::ACTION_UNMASK => {
                self.masked = false;
                if std::mem::take(&mut self.pending) {
                    self.raise();
                }
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }

    fn raise(&mut self) {
        if self.masked {
            self.pending = true;
            return;
        }
        let Some(target) = &self.target else { return };
        // What takes no write now has a count that nobody reads, or is no eventfd: not worth waiting for.
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut [PollFd::new(target, PollFlags::OUT)], Some(&now)) == Ok(1) {
            let _ = rustix::io::write(target, &1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn event() -> (OwnedFd, OwnedFd) {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        (fd.try_clone().unwrap(), fd)
    }

    fn count(fd: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        rustix::io::read(fd, &mut bytes).map_or(0, |_| u64::from_ne_bytes(bytes))
    }

    fn ask(flags: u32, start: u32, count: u32) -> SetIrqs {
        let word = |value: u32| value.into();
        SetIrqs { argsz: word(20), flags: word(flags), index: word(irq::MSIX), start: word(start), count: word(count) }
    }

    const GO: u32 = irq::DATA_EVENTFD | irq::ACTION_TRIGGER;

    #[test]
    fn a_vector_goes_where_it_was_sent_and_nowhere_else() {
        let mut vectors = Vectors::new(4);
        let ((one, two), (three, four)) = (event(), event());
        vectors.set(&ask(GO, 1, 2), &[], vec![one, three]).unwrap();
        (0..9).for_each(|vector| vectors.raise(vector));
        assert_eq!((count(&two), count(&four)), (1, 1));
        // Without descriptors they go nowhere.
        vectors.set(&ask(GO, 2, 1), &[], Vec::new()).unwrap();
        (0..9).for_each(|vector| vectors.raise(vector));
        assert_eq!((count(&two), count(&four)), (1, 0));
        vectors.set(&ask(irq::DATA_NONE | irq::ACTION_TRIGGER, 0, 0), &[], Vec::new()).unwrap();
        vectors.raise(1);
        assert_eq!(count(&two), 0);
    }

    #[test]
    fn what_is_raised_under_a_mask_comes_when_it_goes() {
        let mut vectors = Vectors::new(2);
        let (theirs, ours) = event();
        vectors.set(&ask(GO, 0, 1), &[], vec![theirs]).unwrap();
        vectors.set(&ask(irq::DATA_NONE | irq::ACTION_MASK, 0, 1), &[], Vec::new()).unwrap();
        vectors.raise(0);
        vectors.raise(0);
        assert_eq!(count(&ours), 0);
        vectors.set(&ask(irq::DATA_BOOL | irq::ACTION_UNMASK, 0, 2), &[1, 1], Vec::new()).unwrap();
        assert_eq!(count(&ours), 1, "one bit is pending, not a count");
        vectors.set(&ask(irq::DATA_BOOL | irq::ACTION_TRIGGER, 0, 2), &[1, 0], Vec::new()).unwrap();
        assert_eq!(count(&ours), 1, "raised by the client itself");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut vectors = Vectors::new(4);
        let wrong = [
            ask(GO, 3, 2),
            ask(GO, u32::MAX, u32::MAX),
            ask(irq::DATA_BOOL | irq::ACTION_MASK, 0, 1),
            ask(irq::DATA_NONE, 0, 1),
            ask(irq::DATA_NONE | irq::ACTION_MASK | irq::ACTION_UNMASK, 0, 1),
            ask(irq::DATA_EVENTFD | irq::ACTION_MASK, 0, 1),
            ask(0, 0, 1),
            ask(u32::MAX, 0, 1),
        ];
        for set in wrong {
            assert_eq!(vectors.set(&set, &[], Vec::new()), Err(Errno::INVAL), "{set:?}");
        }
        assert_eq!(vectors.set(&ask(GO, 0, 3), &[], vec![event().0]), Err(Errno::INVAL), "fewer than vectors");
    }

    #[test]
    fn a_target_that_takes_nothing_holds_nothing_up() {
        let mut vectors = Vectors::new(1);
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        vectors.set(&ask(GO, 0, 1), &[], vec![writer]).unwrap();
        for _ in 0..100_000 {
            vectors.raise(0);
        }
        drop(reader);
        vectors.raise(0);
    }
}
