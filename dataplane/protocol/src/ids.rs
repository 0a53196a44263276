//! Ids, all chosen by the control plane. The data plane never invents one and never reuses one.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

id! {
    /// One client path: an ICE endpoint, a DTLS association, and SRTP both ways (one peer connection).
    TransportId
}
id! {
    /// One kind of media that a publisher sends on its transport.
    TrackId
}
id! {
    /// One track on its way to one subscriber's transport.
    SubscriptionId
}
