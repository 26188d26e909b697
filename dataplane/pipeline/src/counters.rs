//! Counters: every way a packet or command can leave a stage, and what each stage did.

use gantry_dma::Region;

macro_rules! counters {
    ($($variant:ident = $name:literal,)*) => {
        /// A counter of one lcore. Its name is `stage.what`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        #[allow(missing_docs, reason = "the names below say it")]
        pub enum Counter { $($variant,)* }

        /// Names in the order of [`Counter`].
        pub const NAMES: &[&str] = &[$($name,)*];
    };
}

counters! {
    Polls = "lcore.polls",
    BusyPolls = "lcore.busy_polls",
    Sleeps = "lcore.sleeps",
    RxFrames = "s0_receive.frames",
    RxBytes = "s0_receive.bytes",
    ParsedRoce = "s1_parse.roce",
    Malformed = "s1_parse.drop_malformed",
    ArpAnswered = "s2_classify.arp_answered",
    NeighborAnswered = "s2_classify.neighbor_answered",
    EchoAnswered = "s2_classify.echo_answered",
    Punted = "s2_classify.punted",
    PuntFull = "s2_classify.drop_punt_full",
    NotLocal = "s2_classify.drop_not_local",
    AccessDenied = "s2_classify.drop_denied",
    Throttled = "s2_classify.drop_throttled",
    UnservedOpcode = "s2_classify.drop_opcode",
    NoQp = "s2_classify.drop_no_qp",
    Told = "s2_classify.told",
    Untold = "s2_classify.drop_untold",
    Congestion = "s2_classify.congestion",
    CongestionTold = "s2_classify.drop_congestion_notification",
    Crossed = "s2_classify.crossed",
    CrossFull = "s2_classify.drop_cross_full",
    AnswerTxFull = "s2_classify.drop_tx_full",
    TransportPackets = "s3_transport.packets",
    TransportPayload = "s3_transport.payload_bytes",
    BadIcrc = "s3_transport.drop_bad_icrc",
    PsnError = "s3_transport.out_of_sequence",
    Duplicate = "s3_transport.duplicate",
    Rnr = "s3_transport.rnr",
    Refused = "s3_transport.refused",
    TransportDrop = "s3_transport.drop_other",
    Messages = "s3_transport.messages",
    Capsules = "s4_capsule.commands",
    CapsuleShort = "s4_capsule.refused_length",
    CapsuleSgl = "s4_capsule.refused_sgl",
    KeepAlives = "s4_capsule.keep_alives",
    CommandReady = "s5_command.ready",
    CommandFetch = "s5_command.fetch",
    CommandPunt = "s5_command.punt",
    InvalidNamespace = "s5_command.refused_namespace",
    LbaRange = "s5_command.refused_lba_range",
    InvalidOpcode = "s5_command.refused_opcode",
    InvalidField = "s5_command.refused_field",
    Denied = "s5_command.refused_read_only",
    WaitedTenant = "s5_command.waited_tenant",
    WaitedBuffers = "s5_command.waited_buffers",
    WaitedBudget = "s5_command.waited_budget",
    Interrupted = "s5_command.refused_interrupted",
    Submitted = "s6_submit.commands",
    Doorbells = "s6_submit.doorbells",
    QueueFull = "s6_submit.waited_queue_full",
    Borrowed = "s6_submit.borrowed",
    Lent = "s6_submit.lent",
    Completed = "s7_complete.commands",
    LentCompleted = "s7_complete.lent",
    DriveErrors = "s7_complete.errors",
    UnknownCid = "s7_complete.drop_unknown_cid",
    DriveSlow = "s7_complete.aborts",
    DriveTimeout = "s7_complete.timeouts",
    Responses = "s8_respond.responses",
    FetchBytes = "s8_respond.fetch_bytes",
    ReadBytes = "s8_respond.read_bytes",
    WriteBytes = "s8_respond.written_bytes",
    RetryExceeded = "s8_respond.retry_exceeded",
    Abandoned = "s8_respond.abandoned_commands",
    TxFrames = "s9_transmit.frames",
    TxBytes = "s9_transmit.bytes",
    TxFull = "s9_transmit.waited_tx_full",
    TxPoolEmpty = "s9_transmit.waited_pool_empty",
    QpsCreated = "lcore.qps_created",
    QpsRetired = "lcore.qps_retired",
}

/// One lcore's counters, and where it publishes them.
pub struct Counters {
    values: [u64; NAMES.len()],
}

impl Counters {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self { values: [0; NAMES.len()] }
    }

    /// Adds to one counter.
    #[inline]
    pub fn add(&mut self, counter: Counter, n: u64) {
        self.values[counter as usize] += n;
    }

    /// Adds one.
    #[inline]
    pub fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// The value of one counter.
    #[must_use]
    pub fn value(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().copied().zip(self.values.iter().copied())
    }

    /// Sets the counter of a name, as a predecessor told it. One that this release has not is forgotten.
    pub(crate) fn restore(&mut self, name: &str, value: u64) {
        if let Some(at) = NAMES.iter().position(|known| *known == name) {
            self.values[at] = value;
        }
    }

    /// Writes the lcore's row of the statistics segment.
    pub fn publish(&self, segment: &Region, row_offset: usize) {
        for (index, value) in self.values.iter().enumerate() {
            segment.store_u64(row_offset + index * 8, value.to_le(), core::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator finds every counter in the documentation, and nothing there that is not counted.
    #[test]
    fn the_documentation_names_every_counter() {
        let page = include_str!("../../../docs/counters.md");
        let told: alloc::vec::Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
        assert_eq!(told, NAMES);
    }
}
