//! The publisher's side: packets of one track as they come in, the gaps among them, and what to tell the
//! publisher about them.

pub(crate) mod feedback;
pub(crate) mod history;
pub(crate) mod keyframe;
pub(crate) mod nack;
pub(crate) mod reception;
pub(crate) mod track;
