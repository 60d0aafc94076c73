//! What one process tells all others that share a Redis: that a client has been changed.
//!
//! Redis keeps no announcement: who does not listen in that moment misses it. So whoever subscribes knows nothing of
//! what was said before, and has to forget what it remembers. A message is data from strangers, whoever they are: it is
//! read as one of two things, whatever stands in it, and never printed.

use std::future::Future;
use std::time::Duration;

use auth_domain::id::ClientId;
use auth_domain::ports::Unavailable;
use deadpool_redis::redis::aio::{PubSubSink, PubSubStream};
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo as _, Msg, RedisError, Value, cmd,
};
use futures::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval};

use crate::url::RedisUrl;

/// The channel's name begins with this; the number of a database follows.
const CHANNEL: &str = "codelab-auth:clients-changed:";
/// How often a subscriber asks whether Redis is still there. A link that is dead without a word looks like one on which
/// nothing is said; TCP's own keepalive would not tell of a process that hangs, nor of what lies behind a proxy.
const PING: Duration = Duration::from_secs(1);

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcement {
    /// This client was created, changed or deleted.
    Client(ClientId),
    /// Any client may have been.
    AnyClient,
}

impl Announcement {
    /// Whatever names no client may be about any: from a later version of this program, or from nobody we know. To
    /// forget too much costs look-ups, to forget too little is a mistake.
    fn read(message: &[u8]) -> Self {
        let named = std::str::from_utf8(message).ok().map(ClientId::parse);
        match named {
            Some(Ok(client_id)) => Self::Client(client_id),
            Some(Err(_)) | None => Self::AnyClient,
        }
    }

    /// Nothing can't be a client's identifier.
    fn written(&self) -> &str {
        match self {
            Self::Client(client_id) => client_id.as_str(),
            Self::AnyClient => "",
        }
    }
}

/// Where changes are told and heard of. No call takes longer than the limit, connecting included.
#[derive(Clone)]
pub struct Announcements {
    client: Client,
    channel: String,
    limit: Duration,
}

/// Why nothing can be told or heard.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no answer within {0:?}")]
    TooLate(Duration),
    #[error("the connection was closed")]
    Closed,
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl Announcements {
    /// Prepares for a Redis; connects to nothing. Deployments that share one are kept apart by their databases there.
    ///
    /// # Errors
    /// Where the address can't be used.
    pub fn new(url: RedisUrl, limit: Duration) -> Result<Self, Unavailable> {
        let info: ConnectionInfo = url.into_info();
        // Redis itself hands messages out whatever database a connection has chosen.
        let channel = format!("{CHANNEL}{}", info.redis_settings().db());
        let client = info
            .into_connection_info()
            .and_then(Client::open)
            .map_err(|error| Unavailable::new("prepare announcements through Redis", error))?;
        Ok(Self {
            client,
            channel,
            limit,
        })
    }

    /// Tells all who listen now; says how many they were. To be called once the change is committed: who hears of it
    /// earlier reads what was before, and keeps that.
    ///
    /// # Errors
    /// Where Redis does not answer in time. It may have been told all the same.
    pub async fn announce(&self, announcement: &Announcement) -> Result<u64, Unavailable> {
        let told = within(self.limit, async {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(self.limit))
                .set_response_timeout(Some(self.limit));
            let mut connection = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let mut publish = cmd("PUBLISH");
            publish.arg(&self.channel).arg(announcement.written());
            Ok(publish.query_async(&mut connection).await?)
        });
        told.await
            .map_err(|fault| Unavailable::new("announce a change through Redis", fault))
    }

    /// Listens, on a connection of its own. What is announced from the moment this returns is heard.
    ///
    /// # Errors
    /// Where Redis does not answer in time.
    pub async fn subscribe(&self) -> Result<Subscription, Unavailable> {
        let subscribed = within(self.limit, async {
            let (mut sink, stream) = self.client.get_async_pubsub().await?.split();
            sink.subscribe(&self.channel).await?;
            Ok(Subscription {
                sink,
                stream,
                limit: self.limit,
            })
        });
        subscribed
            .await
            .map_err(|fault| Unavailable::new("listen for changes through Redis", fault))
    }
}

/// A link on which announcements are heard, until it is lost.
///
/// It holds no more than what has arrived and was not asked for yet: Redis itself cuts off whoever is 32 MB behind
/// (`client-output-buffer-limit pubsub`), and that is a loss like any other.
pub struct Subscription {
    sink: PubSubSink,
    stream: PubSubStream,
    limit: Duration,
}

impl Subscription {
    /// Hands out each announcement as it comes, for as long as the link lives; then says what was wrong with it.
    pub async fn hear(self, mut take: impl FnMut(Announcement)) -> Unavailable {
        let Self {
            sink,
            mut stream,
            limit,
        } = self;
        let listen = async {
            while let Some(message) = stream.next().await {
                take(read(&message));
            }
            Fault::Closed
        };
        // Side by side: what is heard does not wait for an answer, nor pile up meanwhile.
        let fault = tokio::select! {
            fault = listen => fault,
            fault = watch(sink, limit) => fault,
        };
        Unavailable::new("listen for changes through Redis", fault)
    }
}

fn read(message: &Msg) -> Announcement {
    Announcement::read(message.get_payload_bytes())
}

/// Asks again and again whether Redis is still there; ends when it is not.
async fn watch(mut sink: PubSubSink, limit: Duration) -> Fault {
    let mut tick = interval(PING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let answered = within(limit, async { Ok(sink.ping::<Value>().await?) });
        if let Err(fault) = answered.await {
            return fault;
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(Fault::TooLate(limit)))
}

#[cfg(test)]
mod tests {
    use auth_testkit::build::client_id;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_told_is_what_is_heard() {
        for announcement in [
            Announcement::Client(client_id("some client, \"quoted\"")),
            Announcement::AnyClient,
        ] {
            assert_eq!(
                Announcement::read(announcement.written().as_bytes()),
                announcement
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_a_stranger_says_is_about_a_client_or_about_any(
            message in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let read = Announcement::read(&message);
            prop_assert!(read == Announcement::AnyClient || read.written().as_bytes() == message);
        }
    }

    #[test]
    fn what_is_no_client_id_is_about_any_client() {
        for message in [
            &b""[..],
            b"ab",
            &[b'a'; 256],
            b"two\nlines",
            b"\xc3\xa9t\xc3\xa9",
            b"\xff\xfe\xfd",
            b"0190163d-8694-739b-aea5-966c26f8ad91",
        ] {
            assert_eq!(
                Announcement::read(message),
                Announcement::AnyClient,
                "{message:?}"
            );
        }
    }
}
