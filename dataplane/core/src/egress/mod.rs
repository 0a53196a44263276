//! The subscriber's side: which packets of a track go out, with which header, and what is sent about them.

pub(crate) mod continuity;
pub(crate) mod padding;
pub(crate) mod report;
pub(crate) mod rewrite;
pub(crate) mod rtx;
pub(crate) mod select;
pub(crate) mod subscription;
