//! [`listen`]: the session on which a member hears of stops and answers.

use std::sync::Arc;
use std::time::Duration;

use quell_durable::catch_panic;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Error};

use crate::member::Member;

/// Listens until it is dropped, on one session after the other. When one was lost, everything is
/// looked at again once the next one hears.
pub(crate) async fn listen(member: Arc<Member>) {
    let mut was_deaf = false;
    loop {
        let heard_itself = Arc::<Notify>::default();
        let opening = open(&member, &heard_itself);
        // Whoever asks the database for something is told why it is away.
        let opened = timeout(member.target.options.connect_timeout, opening).await;
        let Ok(Ok((_client, ended))) = opened else {
            sleep(PAUSE).await;
            continue;
        };
        member.look_all();
        member.watches.look_all();
        member.slots.look_all();
        let hears = async {
            let notified = member.notify_itself(ITSELF).await;
            notified.is_ok() && timeout(HEARS, heard_itself.notified()).await.is_ok()
        };
        let watch = async {
            let is_deaf = !hears.await;
            member.set_deaf(is_deaf);
            if is_deaf && !was_deaf {
                let words = "notifications of the database do not come: stops of other nodes are \
                    looked for four times a second";
                catch_panic(|| tracing::warn!("{words}"));
            }
            was_deaf = is_deaf;
            // Its word may have been late: then the others come as well.
            heard_itself.notified().await;
            member.set_deaf(false);
            was_deaf = false;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // What has ended is not watched any more.
            biased;
            _ = ended => {}
            () = watch => {}
        }
        sleep(BREATH).await;
    }
}

async fn open(
    member: &Arc<Member>,
    heard_itself: &Arc<Notify>,
) -> Result<(Client, JoinHandle<()>), Error> {
    let (to, itself) = (Arc::clone(member), Arc::clone(heard_itself));
    let heard = move |words: &str| {
        if words == ITSELF {
            itself.notify_one();
        } else if !to.turns.heard(words)
            && !to.slots.heard(to.seat.joined, words)
            && !to.watches.heard(&to.channel, words)
        {
            to.heard(words);
        }
    };
    let (client, ended) = member.target.connect_to_hear(heard).await?;
    let (own, all) = (&member.channel, member.target.shared_channel());
    client.batch_execute(&format!("listen \"{own}\"; listen \"{all}\"")).await?;
    Ok((client, ended))
}

/// What a member tells itself.
const ITSELF: &str = "itself";

/// How long it may take to be heard.
const HEARS: Duration = Duration::from_secs(1);

/// After a session that could not be had.
const PAUSE: Duration = Duration::from_millis(100);

/// After one that has ended, so that sessions that end as they begin do not keep a core.
const BREATH: Duration = Duration::from_millis(5);
