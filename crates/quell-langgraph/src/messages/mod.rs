//! Messages: what a completed run answered, the forms in which they are given, and how they are
//! joined (contract, section 7).

mod given;
mod joined;
mod said;

pub(crate) use given::{
    asked, check_messages, is_of_graph, keys_of_messages, may_have_messages, returned,
    returned_more, spoken, text_of,
};
pub(crate) use joined::{joined, to_list};
pub(crate) use said::Messages;

/// The key of the messages in the values.
pub(crate) const MESSAGES: &str = "messages";
