//! Why a REJ refuses: InfiniBand Architecture vol. 1 §12.6.7.2.

/// A REJ's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason(pub u16);

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)+) => {
        impl Reason {
            $(
                #[doc = concat!($text, ".")]
                pub const $name: Reason = Reason($code);
            )+

            /// The specification's name for it.
            pub fn text(self) -> &'static str {
                match self {
                    $(Reason::$name => $text,)+
                    _ => "unknown reason",
                }
            }
        }
    };
}

reasons! {
    NO_QP_AVAILABLE = 1, "no QP available";
    NO_EEC_AVAILABLE = 2, "no EEC available";
    NO_RESOURCES_AVAILABLE = 3, "no resources available";
    TIMEOUT = 4, "timeout";
    UNSUPPORTED_REQUEST = 5, "unsupported request";
    INVALID_COMMUNICATION_ID = 6, "invalid communication ID";
    INVALID_COMMUNICATION_INSTANCE = 7, "invalid communication instance";
    INVALID_SERVICE_ID = 8, "invalid service ID";
    INVALID_TRANSPORT_SERVICE_TYPE = 9, "invalid transport service type";
    STALE_CONNECTION = 10, "stale connection";
    RDC_DOES_NOT_EXIST = 11, "RDC does not exist";
    PRIMARY_REMOTE_PORT_GID_REJECTED = 12, "primary remote port GID rejected";
    PRIMARY_REMOTE_PORT_LID_REJECTED = 13, "primary remote port LID rejected";
    INVALID_PRIMARY_SL = 14, "invalid primary SL";
    INVALID_PRIMARY_TRAFFIC_CLASS = 15, "invalid primary traffic class";
    INVALID_PRIMARY_HOP_LIMIT = 16, "invalid primary hop limit";
    INVALID_PRIMARY_PACKET_RATE = 17, "invalid primary packet rate";
    ALTERNATE_REMOTE_PORT_GID_REJECTED = 18, "alternate remote port GID rejected";
    ALTERNATE_REMOTE_PORT_LID_REJECTED = 19, "alternate remote port LID rejected";
    INVALID_ALTERNATE_SL = 20, "invalid alternate SL";
    INVALID_ALTERNATE_TRAFFIC_CLASS = 21, "invalid alternate traffic class";
    INVALID_ALTERNATE_HOP_LIMIT = 22, "invalid alternate hop limit";
    INVALID_ALTERNATE_PACKET_RATE = 23, "invalid alternate packet rate";
    PORT_AND_CM_REDIRECTION = 24, "port and CM redirection";
    PORT_REDIRECTION = 25, "port redirection";
    INVALID_PATH_MTU = 26, "invalid path MTU";
    INSUFFICIENT_RESPONDER_RESOURCES = 27, "insufficient responder resources";
    CONSUMER_REJECT = 28, "consumer reject";
    RNR_RETRY_COUNT_REJECT = 29, "RNR retry count reject";
    DUPLICATE_LOCAL_COMMUNICATION_ID = 30, "duplicate local communication ID";
    INVALID_CLASS_VERSION = 31, "invalid class version";
    INVALID_PRIMARY_FLOW_LABEL = 32, "invalid primary flow label";
    INVALID_ALTERNATE_FLOW_LABEL = 33, "invalid alternate flow label";
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", self.text(), self.0)
    }
}
