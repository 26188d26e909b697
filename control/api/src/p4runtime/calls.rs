//! Calls that change something: one after the other, each over when the data plane has said so (P4Runtime 1.5.0 §12, §14).
//!
//! ```text
//!   submit_write, submit_config -> waiting -> checked, made in the store, given to the plane -> outcome
//!                                             ^ the plane's answer: Server::progress
//! ```
//! A call that is under way has its changes in the store already, and what is needed to take them back. No other begins
//! before it is over, so that each is checked against what the ones before it have left.

use std::collections::{BTreeMap, VecDeque};

use gantry_p4_proto::runtime::{SetForwardingPipelineConfigRequest, WriteRequest};

use super::plane::{Begun, Change, Committed, Done, Plane, Refused, Ticket, Told};
use super::server::Server;
use super::status::{Failure, Refusal, exhausted};
use super::write::Write;

/// A call that waits for its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// What was called.
pub(super) enum Call {
    Write(WriteRequest),
    Config(Box<SetForwardingPipelineConfigRequest>),
}

/// What a call that has given changes to the plane goes on with.
pub(super) enum Work {
    Write(Write),
    /// The program's entries instead of the clients'; the config's cookie.
    Clear(Option<u64>),
}

/// What a call does next.
pub(super) enum Step {
    Over(Result<(), Failure>),
    Commit(Work, Vec<Change>),
}

/// All calls.
#[derive(Default)]
pub(super) struct Calls {
    ever: u64,
    waiting: VecDeque<(CallId, Call)>,
    under_way: Option<(CallId, Ticket, Work)>,
    /// Calls that somebody waits for, with their outcome when they are over.
    outcomes: BTreeMap<CallId, Option<Result<(), Failure>>>,
    /// The data plane has answered to something since [`Server::take_progress`].
    progress: bool,
}

impl<P: Plane> Server<P> {
    /// Write (§12): [`Server::take_outcome`] tells what became of it. As a whole it fails if the client may not write or the
    /// data plane cannot be reached; with an error for each update if one of them failed.
    pub fn submit_write(&mut self, request: WriteRequest) -> CallId {
        self.submit(Call::Write(request))
    }

    /// SetForwardingPipelineConfig (§14): [`Server::take_outcome`] tells what became of it. The one program is the compiled-in
    /// one: committing it empties what clients have written, reconciling with it changes nothing. It fails if the client may
    /// not, or the program is another one.
    pub fn submit_config(&mut self, request: SetForwardingPipelineConfigRequest) -> CallId {
        self.submit(Call::Config(Box::new(request)))
    }

    /// What became of a call, once it is over.
    pub fn take_outcome(&mut self, call: CallId) -> Option<Result<(), Failure>> {
        let outcome = self.calls.outcomes.get_mut(&call)?.take()?;
        self.calls.outcomes.remove(&call);
        Some(outcome)
    }

    /// Nobody waits for that call any more. It is not begun if it was not yet.
    pub fn forget_call(&mut self, call: CallId) {
        self.calls.outcomes.remove(&call);
        self.calls.waiting.retain(|(waiting, _)| *waiting != call);
    }

    /// Goes on with everything that the data plane has answered to.
    pub fn progress(&mut self) {
        while let Some(done) = self.plane.poll_done() {
            self.calls.progress = true;
            match done {
                Done::Told(ticket, told) => {
                    if let Some(place) = self.asked.get_mut(&ticket) {
                        *place = Some(told);
                    }
                }
                Done::Committed(ticket, committed) => {
                    if let Some((call, _, work)) = self.calls.under_way.take_if(|(_, of, _)| *of == ticket) {
                        let step = self.go_on(work, committed);
                        self.run(call, step);
                    }
                }
            }
        }
        self.begin_waiting();
    }

    /// Whether the data plane has answered to anything since this was asked: what waits is to be looked at.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.calls.progress)
    }

    fn submit(&mut self, call: Call) -> CallId {
        self.calls.ever += 1;
        let id = CallId(self.calls.ever);
        if self.calls.waiting.len() >= self.limits.calls {
            let refusal = exhausted(format!("{} calls wait already", self.calls.waiting.len()));
            self.calls.outcomes.insert(id, Some(Err(refusal.into())));
            return id;
        }
        self.calls.outcomes.insert(id, None);
        self.calls.waiting.push_back((id, call));
        self.begin_waiting();
        id
    }

    fn begin_waiting(&mut self) {
        while self.calls.under_way.is_none()
            && let Some((id, call)) = self.calls.waiting.pop_front()
        {
            let step = match call {
                Call::Write(request) => self.begin_write(request),
                Call::Config(request) => self.begin_config(&request),
            };
            self.run(id, step);
        }
    }

    /// Does a call's steps until the plane takes its time, or it is over.
    fn run(&mut self, call: CallId, mut step: Step) {
        loop {
            match step {
                Step::Over(outcome) => {
                    self.digests.follow(&self.store);
                    if let Some(place) = self.calls.outcomes.get_mut(&call) {
                        *place = Some(outcome);
                    }
                    return;
                }
                Step::Commit(work, changes) => match self.plane.commit(&changes) {
                    Begun::Over(committed) => step = self.go_on(work, committed),
                    Begun::UnderWay(ticket) => {
                        self.calls.under_way = Some((call, ticket, work));
                        return;
                    }
                },
            }
        }
    }

    fn go_on(&mut self, work: Work, committed: Committed) -> Step {
        match work {
            Work::Write(write) => self.go_on_writing(write, committed),
            Work::Clear(cookie) => Step::Over(match committed {
                Ok(()) => {
                    let pipeline = self.pipeline.clone().expect("it was there when the call began");
                    self.store.clear(&pipeline);
                    self.cookie = cookie;
                    Ok(())
                }
                Err(Refused { reason, .. }) => Err(reason.into()),
            }),
        }
    }

    /// A call is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.calls.under_way.is_some()
    }

    pub(super) fn take_told(&mut self, ticket: Ticket) -> Option<Told> {
        match self.asked.get_mut(&ticket) {
            Some(place) => {
                let told = place.take()?;
                self.asked.remove(&ticket);
                Some(told)
            }
            None => Some(Err(Refusal::new(super::Code::Aborted, "the answer was not waited for"))),
        }
    }
}
