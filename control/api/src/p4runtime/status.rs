//! Outcomes: the codes of `google.rpc.Code` that this server uses, and how they are told (P4Runtime 1.5.0 §10).

use gantry_p4_proto::runtime::Error;
use gantry_p4_proto::{Any, Message as _, Status};

/// `google.rpc.Code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[allow(missing_docs)]
pub enum Code {
    Ok = 0,
    Unknown = 2,
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Refusal {
    /// The kind of reason.
    pub code: Code,
    /// The reason, for a reader of logs.
    pub message: String,
}

impl Refusal {
    /// With that code and that message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn status(&self) -> Status {
        Status { code: self.code as i32, message: self.message.clone(), details: Vec::new() }
    }
}

macro_rules! constructors {
    ($($name:ident $code:ident)*) => {$(
        /// A refusal with that code.
        pub(super) fn $name(message: impl Into<String>) -> Refusal {
            Refusal::new(Code::$code, message)
        }
    )*};
}

constructors! {
    invalid InvalidArgument
    not_found NotFound
    exists AlreadyExists
    denied PermissionDenied
    exhausted ResourceExhausted
    precondition FailedPrecondition
    out_of_range OutOfRange
    unsupported Unimplemented
}

/// Why a call failed: before anything was tried, or with one error for each of its updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The call's own outcome; [`Code::Unknown`] when there are errors.
    pub refusal: Refusal,
    /// As many as the call had updates, or none.
    pub errors: Vec<Error>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, errors: Vec::new() }
    }
}

impl Failure {
    /// Of a batch: an outcome for each part of it.
    pub(super) fn batch(call: &str, outcomes: Vec<Result<(), Refusal>>) -> Result<(), Self> {
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        if failed == 0 {
            return Ok(());
        }
        let refusal = Refusal::new(Code::Unknown, format!("{call}: {failed} of {} failed", outcomes.len()));
        let errors = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok(()) => Error::default(),
                Err(Refusal { code, message }) => {
                    Error { canonical_code: code as i32, message, space: "gantry".into(), ..Error::default() }
                }
            })
            .collect();
        Err(Self { refusal, errors })
    }

    /// As gRPC carries it: a `google.rpc.Status` with the errors packed in.
    #[must_use]
    pub fn status(&self) -> Status {
        let details = self
            .errors
            .iter()
            .map(|error| Any { type_url: "type.googleapis.com/p4.v1.Error".into(), value: error.encode_to_vec() });
        Status { details: details.collect(), ..self.refusal.status() }
    }
}
