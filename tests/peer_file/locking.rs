//! One controller a peer file: who comes second is told so, and what the first one has banned stays banned.

use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::Stream;
use network::peer_file::{self, PeerFileError, PeerRecord};
use network::{NetworkConfig, NetworkController, NetworkError};

use crate::ip;
use crate::peer_files::PeerFile;

/// A controller that dumps as soon as something has changed.
async fn eager(path: &Path) -> Result<NetworkController, NetworkError> {
    let mut config = NetworkConfig::new(path, 0);
    config.target_outgoing_connections = 0;
    config.peer_file_dump_interval = Duration::from_nanos(1);
    NetworkController::with_config(config).await
}

#[track_caller]
fn assert_in_use(result: Result<NetworkController, NetworkError>, path: &Path) {
    let error = result.expect_err("it is in use");
    let text = error.to_string();
    let expected = "another controller or tool uses it; end that one, or use another file";
    assert_eq!(text, format!("peer file {}: {expected}", path.display()));
    assert!(
        matches!(
            error,
            NetworkError::PeerFile {
                error: PeerFileError::InUse,
                ..
            }
        ),
        "{text}"
    );
}

/// Polls until there are as many dumps.
async fn dump(net: &mut NetworkController, dumps: u64) {
    let dumped = poll_fn(|cx| {
        assert!(Pin::new(&mut *net).poll_next(cx).is_pending(), "nobody connects");
        if net.stats().counters.dumps_written < dumps {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    });
    tokio::time::timeout(Duration::from_secs(60), dumped)
        .await
        .expect("it dumps");
}

#[tokio::test(start_paused = true)]
async fn a_second_controller_is_refused_until_the_first_is_closed() {
    let file = PeerFile::holding("[]");
    let mut net = eager(&file.path).await.unwrap();
    assert_in_use(eager(&file.path).await, &file.path);
    for dumps in 1..=3 {
        net.feedback_peer_banned(ip(&format!("192.0.2.{dumps}"))).await;
        dump(&mut net, dumps).await;
        assert_in_use(eager(&file.path).await, &file.path);
    }
    assert!(file.is_alone(), "there is no lock file");
    net.feedback_peer_banned(ip("192.0.2.9")).await;
    net.close().await.unwrap();

    let mut second = eager(&file.path).await.expect("the first is closed");
    assert_eq!(second.stats().peers.banned, 4, "all bans of the first");
    net.close().await.expect("after Ok, again is Ok");
    assert_in_use(eager(&file.path).await, &file.path);
    second.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_dropped_lets_the_file_go() {
    let file = PeerFile::holding("[]");
    drop(eager(&file.path).await.unwrap());
    let mut net = eager(&file.path).await.unwrap();
    net.feedback_peer_banned(ip("192.0.2.1")).await;
    dump(&mut net, 1).await;
    drop(net);
    assert_eq!(eager(&file.path).await.unwrap().stats().peers.banned, 1);
}

#[tokio::test]
async fn the_next_controller_has_the_whole_file_wherever_the_one_before_was_dropped() {
    let file = PeerFile::holding("[]");
    for round in 0..200_u32 {
        let mut net = eager(&file.path).await.unwrap();
        assert_eq!(net.stats().last_dump_error, None);
        net.feedback_peer_banned(ip(&format!("192.0.2.{}", round % 250 + 1)))
            .await;
        // The dump gets further each time, until it is done.
        for _ in 0..round % 20 {
            let pending = poll_fn(|cx| Poll::Ready(Pin::new(&mut net).poll_next(cx).is_pending())).await;
            assert!(pending, "nobody connects");
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_micros(50));
        }
        drop(net);
        let next = eager(&file.path).await.unwrap();
        let loaded: Vec<_> = next.peers().map(|peer| peer.ip).collect();
        tokio::task::yield_now().await;
        let mut stored: Vec<_> = peer_file::load(&file.path).await.unwrap();
        assert!(
            stored.drain(..).all(|record| loaded.contains(&record.peer.ip)),
            "round {round}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_failed_keeps_the_file_until_it_is_done() {
    let file = PeerFile::holding("[]");
    let mut net = file.load().await.unwrap();
    net.feedback_peer_banned(ip("192.0.2.1")).await;
    let obstacle = file.path.with_extension("json.tmp");
    fs::create_dir(&obstacle).unwrap();
    net.close().await.unwrap_err();
    assert_in_use(eager(&file.path).await, &file.path);
    fs::remove_dir(&obstacle).unwrap();
    net.close().await.unwrap();
    assert_eq!(eager(&file.path).await.unwrap().stats().peers.banned, 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_lets_the_file_go() {
    let file = PeerFile::holding("[");
    file.load().await.expect_err("malformed");
    fs::write(&file.path, "[]").unwrap();
    let mut config = NetworkConfig::new(&file.path, 0);
    config.listen_ip = ip("192.0.2.1");
    let error = NetworkController::with_config(config).await.unwrap_err();
    assert!(matches!(error, NetworkError::Listen { .. }), "{error}");
    drop(file.load().await.unwrap());
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_file_is_the_same_by_another_name() {
    let file = PeerFile::holding("[]");
    let [link, second] = ["link.json", "second.json"].map(|name| file.folder.path().join(name));
    std::os::unix::fs::symlink(&file.path, &link).unwrap();
    fs::hard_link(&file.path, &second).unwrap();
    let _net = eager(&link).await.unwrap();
    for path in [&file.path, &link, &second] {
        assert_in_use(eager(path).await, path);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_can_look_at_a_file_in_use_but_not_save_it() {
    let file = PeerFile::holding(r#"[{ "ip": "192.0.2.1" }]"#);
    let mut net = file.load().await.unwrap();
    let records = peer_file::load(&file.path).await.unwrap();
    let error = peer_file::save(&file.path, [] as [PeerRecord; 0]).await.unwrap_err();
    assert!(matches!(error.source, PeerFileError::InUse), "{error}");
    assert_eq!(peer_file::load(&file.path).await.unwrap(), records);
    assert!(file.is_alone());
    net.close().await.unwrap();
    peer_file::save(&file.path, [] as [PeerRecord; 0]).await.unwrap();
    assert_eq!(peer_file::load(&file.path).await.unwrap(), []);
}

#[tokio::test]
async fn tools_that_save_at_one_time_take_turns() {
    let file = PeerFile::holding("[]");
    let saves = (1..=8).map(|last| {
        let record = PeerRecord::new(ip(&format!("192.0.2.{last}")));
        let path = file.path.clone();
        async move { peer_file::save(path, [record]).await }
    });
    for saved in futures::future::join_all(saves).await {
        saved.unwrap();
    }
    assert_eq!(peer_file::load(&file.path).await.unwrap().len(), 1);
    assert!(file.is_alone());
}
