//! What several instances share through Redis: counters, one atomic script for each request; and the news that a
//! client has been changed.
//!
//! The script repeats the domain's rules, and tests hold the two together. Nothing here waits longer than it is told
//! to, gives Redis a user name or an address in clear, or decides what to do while Redis is away: that is the server's
//! business.

mod announcements;
mod answer;
mod connections;
mod examine;
mod keys;
mod line;
mod throttle;
mod url;

pub use announcements::{Announcement, Announcements, Subscription};
pub use answer::{Judged, Pardoned};
pub use connections::Meeting;
pub use examine::{Examination, examine};
pub use line::Line;
pub use throttle::{
    Correction, Hit, Instance, MOST_COUNTERS, Reach, RedisThrottle, TOLD_AT_ONCE, Unanswered,
};
pub use url::{RedisUrl, UrlFault};
