//! A small replicated map on memberlist alone, in the way in which Alertmanager shares its silences: changes are gossiped,
//! whoever hears one for the first time passes it on, and push/pull carries the whole map to who missed something.
//!
//! ```text
//! cargo run -p transport-tokio --example replicated_map -- one 127.0.0.1:7961
//! cargo run -p transport-tokio --example replicated_map -- two 127.0.0.1:7962 127.0.0.1:7961
//! ```
//!
//! Then type `key value` into either, or `key` to see its value.
mod map;

use core::error::Error;
use core::net::SocketAddr;
use std::io::BufRead;

use map::Map;
use transport_tokio::{Bind, Cluster, Config, Membership, Notice, start_membership};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, bind, join @ ..] = arguments.as_slice() else {
        return Err("usage: replicated_map NAME ADDRESS [ADDRESS OF A MEMBER]...".into());
    };
    let node = start_membership(Bind::from(bind.parse::<SocketAddr>()?), |advertise| {
        let mut config = Config::lan(name.as_str(), advertise);
        // Up to 512 bytes that everybody sees of this node. Serf keeps its tags here.
        config.metadata("replicated_map 1".into());
        config
    })
    .await?;
    let mut news = node.subscribe().await;
    if !join.is_empty() {
        node.join(join).await?;
    }

    // Standard input blocks, so it has a thread of its own.
    let (lines, mut typed) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).all(|line| lines.blocking_send(line).is_ok())
    });
    let mut map = Map::default();
    loop {
        tokio::select! {
            line = typed.recv() => {
                let Some(line) = line else { break };
                let Some((key, value)) = line.split_once(' ') else {
                    println!("{}", map.get(&line).unwrap_or("nobody has set it"));
                    continue;
                };
                let line = map.set(key, value, name);
                spread(&node, &map, vec![(key.into(), line)]).await?;
            }
            notice = news.recv() => match notice {
                None => return Err("the node has ended".into()),
                Some(Notice::Change { member, kind, .. }) => println!("{} {kind:?}", member.name),
                // From one node, by gossip: pass it on if it is news, or only those would hear of it whom its author told.
                Some(Notice::Message { payload, .. }) => {
                    let news = map.merge(&payload);
                    spread(&node, &map, news).await?;
                }
                // A push/pull. What is news in it was gossiped long ago; there is no need to do it again.
                Some(Notice::UserState { state, .. }) => {
                    for (_, line) in map.merge(&state) {
                        print!("learnt {line}");
                    }
                    node.set_user_state(map.encode().into()).await?;
                }
                Some(_) => {}
            }
        }
    }
    node.leave().await?;
    node.shutdown().await;
    Ok(())
}

async fn spread(
    node: &Cluster<Membership>,
    map: &Map,
    news: Vec<(String, String)>,
) -> Result<(), Box<dyn Error>> {
    if news.is_empty() {
        return Ok(());
    }
    node.set_user_state(map.encode().into()).await?;
    for (key, line) in news {
        print!("heard {line}");
        // A newer value of a key takes the place of the older one that still waits to be sent. This ends when the news is
        // out; there is no need to wait for that.
        let node = node.clone();
        tokio::spawn(async move { node.broadcast_about(key, line.into()).await });
    }
    Ok(())
}
