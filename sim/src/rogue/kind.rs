//! What a rogue does, and whom it may cost something.

/// In whose name a rogue sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum As {
    /// With all of the victim's addresses: the target cannot tell it from the victim, so that the victim's association may
    /// end ([`RogueKind::may_end_association`]). Its oracle may complain, of answers to what it never sent, and what it
    /// writes meanwhile may reach the drive with the rogue's bytes in it. Nobody else may notice.
    Itself,
    /// With addresses of its own, but all that it has overheard of the victim. Nobody may notice, the victim included.
    Stranger,
}

macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident $name:literal $ends:literal;)+) => {
        /// A way to violate the protocols.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum RogueKind {
            $($(#[$doc])+ $kind,)+
        }

        impl RogueKind {
            /// Every kind.
            pub const ALL: &[RogueKind] = &[$(RogueKind::$kind),+];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(RogueKind::$kind => $name,)+
                }
            }

            fn breaks_its_own(self) -> bool {
                match self {
                    $(RogueKind::$kind => $ends,)+
                }
            }
        }
    };
}

// `true` where the victim's association may end when it seems to come from the victim.
kinds! {
    /// A SEND whose PSN is thousands to millions ahead.
    PsnFarAhead "psn-far-ahead" true;
    /// A SEND whose PSN is thousands to millions behind.
    PsnFarBehind "psn-far-behind" true;
    /// A SEND whose PSN is a few off.
    PsnNear "psn-near" true;
    /// SEND or WRITE middle without a first.
    MiddleWithoutFirst "middle-without-first" true;
    /// SEND or WRITE last without a first.
    LastWithoutFirst "last-without-first" true;
    /// SEND first, then only.
    OnlyInsideMessage "only-inside-message" true;
    /// SEND first, twice.
    FirstTwice "first-twice" true;
    /// SEND first shorter than the MTU, or last without bytes.
    PartialFirst "partial-first" true;
    /// One message of first and many middles, longer than any capsule.
    OversizedSend "oversized-send" true;
    /// One packet longer than the path MTU.
    OverlongPacket "overlong-packet" true;
    /// A SEND too short for an SQE.
    ShortCapsule "short-capsule" true;
    /// A pad count that does not fit.
    BadPad "bad-pad" true;
    /// A QPN that nobody has.
    UnknownQpn "unknown-qpn" false;
    /// A QPN next to the victim's: another connection's, or nobody's.
    OtherQpn "other-qpn" true;
    /// RDMA WRITE of the target's memory.
    WildWrite "wild-write" true;
    /// RDMA READ of the target's memory.
    WildRead "wild-read" true;
    /// An atomic on the target's memory.
    WildAtomic "wild-atomic" true;
    /// An ACK for a PSN that was never sent.
    GhostAck "ghost-ack" true;
    /// A NAK of every code, for PSNs around the last one.
    WildNak "wild-nak" true;
    /// RNR NAKs with every timer code.
    RnrNak "rnr-nak" true;
    /// READ responses that nobody asked for, or that somebody did.
    GhostReadResponse "ghost-read-response" true;
    /// Congestion notifications.
    Cnp "cnp" false;
    /// An opcode of another service, or reserved.
    ReservedOpcode "reserved-opcode" false;
    /// A P_Key of another partition.
    WrongPkey "wrong-pkey" false;
    /// Another transport header version.
    WrongVersion "wrong-version" false;
    /// A lawful packet with a wrong ICRC.
    BadIcrc "bad-icrc" false;
    /// A wrong IPv4 header checksum, or another IP version.
    BadIpHeader "bad-ip-header" false;
    /// An IP length that does not fit the frame.
    BadIpLength "bad-ip-length" false;
    /// A UDP length that does not fit the IP datagram.
    BadUdpLength "bad-udp-length" false;
    /// IPv4 options; the packet is lawful.
    IpOptions "ip-options" true;
    /// A fragment.
    Fragment "fragment" false;
    /// A VLAN tag of another VLAN, two of them, or half a one.
    VlanTagged "vlan-tagged" false;
    /// A lawful packet, cut at every header boundary.
    Truncated "truncated" false;
    /// Random bytes behind a sound Ethernet header.
    Garbage "garbage" false;
    /// A MAD that is none.
    MalformedMad "malformed-mad" false;
    /// A datagram for another QP than QP1, or with another Q_Key.
    WildDatagram "wild-datagram" false;
    /// REQs for ever new connections that are never completed.
    ReqFlood "req-flood" false;
    /// A REQ with absurd terms.
    AbsurdReq "absurd-req" false;
    /// DREQ, RTU, REJ, MRA, DREP for ids that are nobody's.
    ForeignRelease "foreign-release" false;
    /// DREQ, RTU, REJ, MRA, DREP for the victim's ids.
    OwnRelease "own-release" true;
    /// A REQ with the victim's communication id or QPN.
    StaleReq "stale-req" true;
    /// ARP requests and replies that claim everybody's addresses.
    ArpFlood "arp-flood" false;
    /// Neighbour solicitations and advertisements, sound and not.
    NeighborFlood "neighbor-flood" false;
    /// Echo requests of every length, sound and not.
    EchoFlood "echo-flood" false;
}

impl RogueKind {
    /// Whether the victim's association may end over it: never over a stranger's doing.
    #[must_use]
    pub fn may_end_association(self, as_: As) -> bool {
        as_ == As::Itself && self.breaks_its_own()
    }
}
