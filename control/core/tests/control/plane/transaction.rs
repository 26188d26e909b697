//! Transactions: what is refused, what is applied.

use super::{Plane, body, receive_psn};
use gantry::channel::operation::{
    AddressAdd, Answer, ControllerAdd, ControllerRemove, DriveAdd, NamespaceAdd, NamespaceRemove, PortAdd, QpBind,
    QpCreate, QpDestroy,
};
use gantry::channel::session::{Reason, Refused, Reservation};
use gantry::channel::{Kind, emit};
use std::collections::BTreeSet;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

impl Plane {
    pub(super) fn prepare(&mut self, id: u64) {
        let refuse = self.refuse;
        let open = self.open.as_mut().expect("PREPARE closes a BEGIN");
        assert!(open.id == id && !open.prepared);
        open.prepared = true;
        let unwanted = |kind| refuse.is_some_and(|(refused, _)| refused == kind);
        if let Some(at) = open.operations.iter().position(|(kind, _)| unwanted(*kind)) {
            let reason = self.refuse.take().unwrap().1;
            self.open = None;
            return self.refused(id, at, reason);
        }
        if let Some((at, reason)) = self.fault() {
            self.answers_refused += usize::from(self.open.as_ref().unwrap().operations[at].0 == Kind::Answer);
            self.open = None;
            return self.refused(id, at, reason);
        }
        let open = self.open.as_mut().unwrap();
        let mut tail = Vec::new();
        for (at, _) in open.operations.iter().enumerate().filter(|(_, (kind, _))| *kind == Kind::QpCreate) {
            let qpn = self.next_qpn;
            self.next_qpn += 1;
            open.reserved.push(qpn);
            let reservation = Reservation {
                operation: U32::new(at as u32),
                qpn: U32::new(qpn),
                receive_psn: U32::new(receive_psn(qpn)),
                lcore: U16::ZERO,
                reserved: U16::ZERO,
            };
            tail.extend_from_slice(reservation.as_bytes());
        }
        self.send(emit(Kind::Prepared, id, &[], &tail));
    }

    /// The first operation that names what does not exist, or exists otherwise.
    fn fault(&self) -> Option<(usize, Reason)> {
        let open = self.open.as_ref().unwrap();
        let mut controllers: BTreeSet<u16> = self.controllers.keys().copied().collect();
        for (at, (kind, bytes)) in open.operations.iter().enumerate() {
            let not_found = match kind {
                // One that drains is destroyed already.
                Kind::QpDestroy => {
                    let qpn = body::<QpDestroy>(bytes).qpn.get();
                    !self.qps.contains_key(&qpn) && !self.draining.contains_key(&qpn)
                }
                Kind::QpBind => !self.qps.contains_key(&body::<QpBind>(bytes).qpn.get()),
                Kind::Answer => {
                    let answer = body::<Answer>(bytes);
                    !self.unanswered.contains_key(&(answer.qpn.get(), answer.punt.get()))
                }
                Kind::ControllerAdd => {
                    let cntlid = body::<ControllerAdd>(bytes).cntlid.get();
                    if self.closing.contains(&cntlid) {
                        return Some((at, Reason::Exists));
                    }
                    controllers.insert(cntlid);
                    false
                }
                Kind::ControllerRemove => !controllers.contains(&body::<ControllerRemove>(bytes).cntlid.get()),
                Kind::NamespaceAdd => !controllers.contains(&body::<NamespaceAdd>(bytes).cntlid.get()),
                _ => false,
            };
            if not_found {
                return Some((at, Reason::NotFound));
            }
            let other = |known: Option<&Vec<u8>>| known.is_some_and(|known| known != bytes);
            let exists = match kind {
                Kind::PortAdd => other(self.ports.get(&body::<PortAdd>(bytes).port.get())),
                Kind::DriveAdd => {
                    let number = body::<DriveAdd>(bytes).drive.get();
                    other(self.drives.get(&number)) || self.dead.contains(&number)
                }
                _ => false,
            };
            if exists {
                return Some((at, Reason::Exists));
            }
        }
        None
    }

    fn refused(&mut self, id: u64, at: usize, reason: Reason) {
        let body = Refused { operation: U32::new(at as u32), reason: U16::new(reason as u16), reserved: U16::ZERO };
        self.send(emit(Kind::Refused, id, body.as_bytes(), b"no"));
    }

    pub(super) fn commit(&mut self, id: u64) {
        let open = self.open.take().expect("COMMIT follows PREPARE");
        assert!(open.id == id && open.prepared);
        let mut reserved = open.reserved.into_iter();
        let mut retired = Vec::new();
        for (kind, bytes) in open.operations {
            let changed = self.apply(kind, &bytes, &mut reserved, &mut retired);
            if changed {
                self.applied.push((kind, bytes));
            }
        }
        let committed = emit(Kind::Committed, id, &[], &[]);
        if self.slow_lcore {
            self.committed.push_back(committed);
        } else {
            self.send(committed);
        }
        if self.retire_at_once {
            retired.into_iter().for_each(|qpn| self.retire_quietly(qpn));
        }
    }

    /// Whether the operation changed anything.
    fn apply(
        &mut self,
        kind: Kind,
        bytes: &[u8],
        reserved: &mut impl Iterator<Item = u32>,
        retired: &mut Vec<u32>,
    ) -> bool {
        match kind {
            Kind::PortAdd => return self.ports.insert(body::<PortAdd>(bytes).port.get(), bytes.to_vec()).is_none(),
            Kind::AddressAdd => {
                let port = body::<AddressAdd>(bytes).port.get();
                assert!(self.ports.contains_key(&port), "an address follows its port");
                return self.addresses.insert(bytes.to_vec());
            }
            Kind::DriveAdd => return self.drives.insert(body::<DriveAdd>(bytes).drive.get(), bytes.to_vec()).is_none(),
            Kind::QpCreate => {
                let (create, blob) = QpCreate::read_from_prefix(bytes).unwrap();
                let qpn = reserved.next().unwrap();
                assert!(self.minor >= 1 || blob.is_empty(), "contract 1.0 knows no blobs");
                self.qps.insert(qpn, create);
                self.qp_blobs.insert(qpn, blob.to_vec());
            }
            Kind::QpBind => {
                let bind = body::<QpBind>(bytes);
                assert!(self.controllers.contains_key(&bind.cntlid.get()), "a QP is bound to what exists");
                self.bound.insert(bind.qpn.get(), bind.cntlid.get());
            }
            Kind::QpDestroy => {
                let qpn = body::<QpDestroy>(bytes).qpn.get();
                let Some(create) = self.qps.remove(&qpn) else { return false };
                let cntlid = self.bound.remove(&qpn);
                self.unanswered.retain(|(of, _), _| *of != qpn);
                self.draining.insert(qpn, (create, cntlid));
                retired.push(qpn);
            }
            Kind::ControllerAdd => {
                let (add, blob) = ControllerAdd::read_from_prefix(bytes).unwrap();
                let cntlid = add.cntlid.get();
                assert!(self.minor >= 1 || blob.is_empty(), "contract 1.0 knows no blobs");
                self.controllers.insert(cntlid, add.keep_alive_ms.get());
                if !blob.is_empty() {
                    self.controller_blobs.insert(cntlid, blob.to_vec());
                }
            }
            Kind::ControllerRemove => {
                let cntlid = body::<ControllerRemove>(bytes).cntlid.get();
                assert!(self.bound.values().all(|bound| *bound != cntlid), "its QPs are gone or going");
                self.controllers.remove(&cntlid);
                self.namespaces.retain(|(of, _), _| *of != cntlid);
                if self.draining.values().any(|(_, of)| *of == Some(cntlid)) {
                    self.closing.insert(cntlid);
                } else {
                    self.controller_blobs.remove(&cntlid);
                    self.expired.remove(&cntlid);
                }
            }
            Kind::NamespaceAdd => {
                let entry = body::<NamespaceAdd>(bytes);
                let old = self.namespaces.insert((entry.cntlid.get(), entry.nsid.get()), entry);
                assert!(old.is_none(), "an entry is removed before it is added anew");
            }
            Kind::NamespaceRemove => {
                let entry = body::<NamespaceRemove>(bytes);
                let old = self.namespaces.remove(&(entry.cntlid.get(), entry.nsid.get()));
                assert!(old.is_some(), "what is removed was there");
            }
            Kind::Answer => {
                let (answer, data) = Answer::read_from_prefix(bytes).unwrap();
                let key = (answer.qpn.get(), answer.punt.get());
                assert!(self.unanswered.remove(&key).is_some(), "one answer a capsule");
                assert!(data.len() <= gantry::channel::CAPSULE_DATA_MAX);
                self.answers.insert(key, (answer, data.to_vec()));
            }
            Kind::Abort => assert!(self.minor >= 1, "contract 1.0 aborts nothing"),
            kind => panic!("{kind:?} is no operation"),
        }
        true
    }
}
