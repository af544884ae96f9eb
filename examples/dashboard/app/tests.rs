use std::io;
use std::net::Ipv4Addr;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use network::{Cause, PeerStatus, Refusal};

use super::*;

/// The `seconds`th second of the node's life.
pub(crate) fn second(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

pub(crate) fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(60, last, 0, last).into()
}

pub(crate) fn new_app() -> App {
    App::new("60.1.0.1:31244".to_owned(), &[], second(0))
}

pub(crate) fn change(app: &mut App, seconds: i64, peer: IpAddr, kind: ChangeKind) {
    let at = second(seconds);
    app.on_time(at);
    app.on_change(Entry { at, ip: peer, kind });
}

pub(crate) fn status(app: &mut App, seconds: i64, peer: IpAddr, to: PeerStatus, cause: Cause) {
    let from = app.peers.get(peer).map(|row| row.status);
    change(app, seconds, peer, ChangeKind::Status { from, to, cause });
}

/// A connection of ours with this peer comes alive.
pub(crate) fn connect(app: &mut App, seconds: i64, peer: IpAddr) {
    status(app, seconds, peer, PeerStatus::OutConnecting, Cause::Dialed);
    status(app, seconds + 1, peer, PeerStatus::OutHandshaking, Cause::DialSucceeded);
    status(app, seconds + 2, peer, PeerStatus::OutAlive, Cause::Alive);
}

/// This peer comes in and is alive.
pub(crate) fn come_in(app: &mut App, seconds: i64, peer: IpAddr) {
    status(app, seconds, peer, PeerStatus::InHandshaking, Cause::Admitted);
    status(app, seconds, peer, PeerStatus::InAlive, Cause::Alive);
}

pub(crate) fn press(app: &mut App, code: KeyCode) -> Option<Command> {
    app.on_key(KeyEvent::new(code, KeyModifiers::NONE))
}

pub(crate) fn type_in(app: &mut App, text: &str) -> Option<Command> {
    let commands = text.chars().map(|char| press(app, KeyCode::Char(char)));
    commands.last().flatten()
}

fn rows(app: &App, view: View) -> Vec<IpAddr> {
    app.peers.rows(view).iter().map(|row| row.ip).collect()
}

#[test]
fn the_changes_lead_to_the_peers() {
    let mut app = new_app();
    change(&mut app, 0, ip(1), ChangeKind::Added);
    assert_eq!(rows(&app, View::Idle), [ip(1)]);
    connect(&mut app, 1, ip(1));
    assert_eq!(
        (rows(&app, View::Idle), rows(&app, View::Connected)),
        (vec![], vec![ip(1)])
    );
    let banned = Cause::Banned(network::Reporter::Lease);
    status(&mut app, 5, ip(1), PeerStatus::Banned, banned);
    assert_eq!(rows(&app, View::Banned), [ip(1)]);
    change(&mut app, 6, ip(1), ChangeKind::Forgotten);
    assert!(app.peers.get(ip(1)).is_none());
    change(&mut app, 7, ip(2), ChangeKind::Refused(Refusal::IncomingFull));
    assert!(app.peers.get(ip(2)).is_none(), "a refusal adds no peer");
    assert_eq!(app.log.len(), 7);
}

#[test]
fn the_age_of_a_connection_counts_from_its_event() {
    let mut app = new_app();
    connect(&mut app, 10, ip(1));
    assert_eq!(app.peers.get(ip(1)).unwrap().since, Some(second(11)));
    let failed = Cause::DialFailed(io::ErrorKind::ConnectionRefused);
    status(&mut app, 20, ip(1), PeerStatus::Idle, failed);
    assert_eq!(app.peers.get(ip(1)).unwrap().since, Some(second(20)));
    change(&mut app, 30, ip(1), ChangeKind::Refused(Refusal::AttemptsFull));
    let row = app.peers.get(ip(1)).unwrap();
    assert_eq!(row.since, Some(second(20)), "it is idle as before");
    assert_eq!(
        row.event,
        Some((second(30), ChangeKind::Refused(Refusal::AttemptsFull)))
    );
}

#[test]
fn changes_that_are_missing_are_made_good_by_all_peers() {
    let mut app = new_app();
    assert!(app.needs_peers(), "it knows nothing");
    app.on_peers(&[Peer::new(ip(1)), Peer::new(ip(2))]);
    assert!(!app.needs_peers());
    connect(&mut app, 1, ip(1));
    connect(&mut app, 1, ip(3));
    change(&mut app, 5, Ipv4Addr::UNSPECIFIED.into(), ChangeKind::Lagged(3));
    assert!(app.needs_peers());

    let mut alive = Peer::new(ip(1));
    alive.status = PeerStatus::OutAlive;
    app.on_peers(&[alive, Peer::new(ip(4))]);
    assert_eq!(rows(&app, View::Connected), [ip(1)]);
    assert_eq!(
        app.peers.get(ip(1)).unwrap().since,
        Some(second(2)),
        "it has not changed"
    );
    assert_eq!(rows(&app, View::Idle), [ip(4)]);
    assert_eq!(app.peers.get(ip(4)).unwrap().since, None);

    // What happened before the answer, but is read after it.
    change(&mut app, 6, ip(4), ChangeKind::Added);
    assert_eq!(rows(&app, View::Idle), [ip(4)]);
    assert_eq!(app.peers.get(ip(4)).unwrap().since, Some(second(6)));
}

#[test]
fn outgoing_peers_come_first_and_the_oldest_of_each_status() {
    let mut app = new_app();
    come_in(&mut app, 1, ip(1));
    connect(&mut app, 5, ip(2));
    connect(&mut app, 2, ip(3));
    status(&mut app, 9, ip(4), PeerStatus::OutConnecting, Cause::Dialed);
    assert_eq!(rows(&app, View::Connected), [3, 2, 4, 1].map(ip));
    change(&mut app, 11, ip(5), ChangeKind::Added);
    change(&mut app, 12, ip(6), ChangeKind::Added);
    assert_eq!(rows(&app, View::Idle), [6, 5].map(ip), "the newest first");
}

#[test]
fn keys_about_the_selected_peer_are_asked_of_the_node() {
    let mut app = new_app();
    connect(&mut app, 0, ip(1));
    for key in ['b', 'u', 'd', 'r', 'R'] {
        assert_eq!(press(&mut app, KeyCode::Char(key)), None, "nothing is selected");
        assert_eq!(app.notice(), Some("select a peer first"));
    }
    press(&mut app, KeyCode::Down);
    assert_eq!(press(&mut app, KeyCode::Char('b')), Some(Command::Ban(ip(1))));
    assert_eq!(app.notice(), Some("60.1.0.1 is banned for a day"));
    assert_eq!(press(&mut app, KeyCode::Char('u')), Some(Command::Unban(ip(1))));
    assert_eq!(press(&mut app, KeyCode::Char('d')), Some(Command::Dial(ip(1))));
    assert_eq!(press(&mut app, KeyCode::Char('r')), Some(Command::Reserve(ip(1))));
    assert!(app.reserved.contains(&ip(1)));
    assert_eq!(press(&mut app, KeyCode::Char('R')), Some(Command::Release(ip(1))));
    assert!(app.reserved.is_empty());
    app.on_time(app.now + TimeDelta::seconds(NOTICE_SECONDS));
    assert_eq!(app.notice(), None, "it has been read");
}

#[test]
fn the_same_key_pauses_the_node_and_lets_it_go_on() {
    let mut app = new_app();
    assert_eq!(press(&mut app, KeyCode::Char('p')), Some(Command::Pause));
    assert!(app.is_paused);
    let paused = "paused: connections stay, and no new ones are made or admitted";
    assert_eq!(app.notice(), Some(paused));
    assert_eq!(type_in(&mut app, "ap"), None, "an address is typed");
    press(&mut app, KeyCode::Esc);
    assert_eq!(press(&mut app, KeyCode::Char('p')), Some(Command::Resume));
    assert!(!app.is_paused);
    assert_eq!(app.notice(), Some("new connections are made and admitted again"));
}

#[test]
fn keys_that_quit() {
    let mut app = new_app();
    assert_eq!(press(&mut app, KeyCode::Char('q')), Some(Command::Quit));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.on_key(control_c), Some(Command::Quit));
    press(&mut app, KeyCode::Char('a'));
    assert_eq!(
        app.on_key(control_c),
        Some(Command::Quit),
        "while an address is typed, too"
    );
    let release = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
    assert_eq!(new_app().on_key(release), None);
    let control_b = KeyEvent::new(KeyCode::Char('b'), KeyModifiers::CONTROL);
    app.selected = Some(ip(1));
    app.prompt = None;
    assert_eq!(app.on_key(control_b), None);
}

#[test]
fn the_list_of_keys_is_closed_by_any_key_that_does_nothing_else() {
    let mut app = new_app();
    connect(&mut app, 0, ip(1));
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Char('?'));
    assert!(app.is_help_open);
    assert_eq!(press(&mut app, KeyCode::Char('b')), None);
    assert!(!app.is_help_open);
    press(&mut app, KeyCode::Char('?'));
    assert_eq!(press(&mut app, KeyCode::Char('q')), Some(Command::Quit));
}

#[test]
fn an_address_is_typed_and_dialed() {
    let mut app = new_app();
    assert_eq!(
        type_in(&mut app, "aq::7"),
        None,
        "q does not quit here, and b bans no peer"
    );
    assert_eq!(app.prompt.as_deref(), Some("q::7"));
    press(&mut app, KeyCode::Enter);
    assert_eq!(
        (app.prompt.as_deref(), app.notice()),
        (None, Some("\"q::7\" is no IP address"))
    );

    type_in(&mut app, "a::ffff:60.7.0.78");
    press(&mut app, KeyCode::Backspace);
    assert_eq!(press(&mut app, KeyCode::Enter), Some(Command::Dial(ip(7))));
    assert_eq!(app.selected, Some(ip(7)));

    type_in(&mut app, "a1");
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.prompt, None);
    type_in(&mut app, &format!("a{}", "1".repeat(100)));
    assert_eq!(app.prompt.unwrap().len(), 45);
}

#[test]
fn a_peer_stays_selected_wherever_it_goes() {
    let mut app = new_app();
    [1, 2, 3]
        .iter()
        .for_each(|&last| connect(&mut app, last.into(), ip(last)));
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    assert_eq!(app.selected, Some(ip(2)));
    status(&mut app, 9, ip(2), PeerStatus::Idle, Cause::TargetMet);
    assert_eq!(app.selected, Some(ip(2)), "a key must not hit another one");
    press(&mut app, KeyCode::Down);
    assert_eq!(app.selected, Some(ip(3)), "the one that took its row");
    press(&mut app, KeyCode::Down);
    assert_eq!(app.selected, Some(ip(3)), "the last one");
    press(&mut app, KeyCode::Home);
    assert_eq!(app.selected, Some(ip(1)));
    press(&mut app, KeyCode::PageDown);
    assert_eq!(app.selected, Some(ip(3)));
    press(&mut app, KeyCode::Up);
    assert_eq!(app.selected, Some(ip(1)));
    press(&mut app, KeyCode::End);
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.selected, None);
}

#[test]
fn an_empty_view_selects_nobody() {
    let mut app = new_app();
    for key in [
        KeyCode::Down,
        KeyCode::Up,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
    ] {
        press(&mut app, key);
        assert_eq!(app.selected, None);
    }
}

#[test]
fn keys_change_the_view() {
    let mut app = new_app();
    let by_tab = [KeyCode::Tab; 4].map(|key| {
        press(&mut app, key);
        app.view
    });
    assert_eq!(by_tab, [View::Idle, View::Banned, View::Log, View::Connected]);
    press(&mut app, KeyCode::BackTab);
    assert_eq!(app.view, View::Log);
    for (key, view) in ['1', '2', '3', '4'].into_iter().zip(View::ALL) {
        press(&mut app, KeyCode::Char(key));
        assert_eq!(app.view, view);
    }
    (0..30).for_each(|seconds| change(&mut app, seconds, ip(1), ChangeKind::Added));
    press(&mut app, KeyCode::PageUp);
    press(&mut app, KeyCode::Down);
    assert_eq!(app.log.scrolled, 9);
    press(&mut app, KeyCode::End);
    assert_eq!(app.log.scrolled, 0);
    press(&mut app, KeyCode::Home);
    assert_eq!(app.log.scrolled, 29);
}

#[test]
fn details_are_asked_of_the_selected_peer_while_they_are_shown() {
    let mut app = new_app();
    connect(&mut app, 0, ip(1));
    press(&mut app, KeyCode::Down);
    assert_eq!(app.needs_details(), None);
    press(&mut app, KeyCode::Char('w'));
    assert_eq!(app.needs_details(), Some(ip(1)));
    press(&mut app, KeyCode::Esc);
    assert_eq!((app.needs_details(), app.selected), (None, Some(ip(1))));
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.needs_details(), Some(ip(1)));
}
