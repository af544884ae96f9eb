use std::net::IpAddr;

use crossterm::event::KeyCode;
use network::{Peer, Refusal, Reporter, Stats, Usage};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::*;
use crate::app::Details;
use crate::app::tests::{change, come_in, connect, ip, new_app, press, second, status, type_in};

fn render(app: &App, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(app, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let symbols: Vec<_> = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
    let lines = symbols.chunks(width).map(|line| line.concat().trim_end().to_owned());
    lines.collect()
}

/// The usual small terminal.
fn screen(app: &App) -> Vec<String> {
    lines(&render(app, 80, 24))
}

fn line<'a>(screen: &'a [String], part: &str) -> &'a str {
    let line = screen.iter().find(|line| line.contains(part));
    line.unwrap_or_else(|| panic!("no {part:?} in:\n{}", screen.join("\n")))
}

fn lacks(screen: &[String], part: &str) -> bool {
    screen.iter().all(|line| !line.contains(part))
}

fn stats() -> Stats {
    let mut stats = Stats::default();
    stats.peers.out_alive = 2;
    stats.peers.in_alive = 1;
    stats.peers.banned = 1;
    stats.outgoing_connections = Usage { used: 2, limit: 4 };
    stats.incoming_connections = Usage { used: 6, limit: 6 };
    stats.idle_peers = Usage { used: 3, limit: 10_000 };
    stats
}

/// Two outgoing peers, an incoming one, one idle, one banned.
fn busy() -> App {
    let mut app = new_app();
    connect(&mut app, 0, ip(1));
    connect(&mut app, 10, ip(2));
    come_in(&mut app, 60, ip(3));
    change(&mut app, 70, ip(4), ChangeKind::Added);
    status(&mut app, 80, ip(5), PeerStatus::Banned, Cause::Banned(Reporter::Lease));
    change(&mut app, 90, ip(5), ChangeKind::Refused(Refusal::Banned));
    app.on_stats(stats());
    app.on_time(second(100));
    app
}

#[test]
fn the_first_screen_has_the_node_its_caps_its_peers_and_the_log() {
    let expected = "\x20network  60.1.0.1:31244  up 1m  2 out, 1 in, 4 known, 1 banned
 caps ──────────────────────────────────────────────────────────────────────────
 outgoing       2/4     ━━━━━━━━────────  incoming       6/6     ━━━━━━━━━━━━━━━
 out pending    0/0     ━━━━━━━━━━━━━━━━  in pending     0/0     ━━━━━━━━━━━━━━━
 idle           3/10000 ────────────────  banned         0/0     ━━━━━━━━━━━━━━━
 dials 0, 0 failed, 0 timed out ────────  accepts 0, 0 refused ─────────────────
 0/s                                      0/s
 most 0/s                                 most 0/s
 1 connected 3   2 idle 1   3 banned 1   4 log 11  ─────────────────────────────
  dir status     age  peer      subnet   last event
  out alive        1m 60.1.0.1  60.1/16   1m reported alive
  out alive        1m 60.2.0.2  60.2/16   1m reported alive
  in  alive       40s 60.3.0.3  60.3/16  40s reported alive




 log ───────────────────────────────────────────────────────────────────────────
 00:01:00 60.3.0.3        new -> InHandshaking: admitted
 00:01:00 60.3.0.3        InHandshaking -> InAlive: reported alive
 00:01:10 60.4.0.4        added
 00:01:20 60.5.0.5        new -> Banned: banned, reported by its lease
 00:01:30 60.5.0.5        refused: the peer is banned
 Up Down select a peer  Tab view  a dial an address  p pause     ? keys  q quit";
    assert_eq!(screen(&busy()).join("\n"), expected);
}

#[test]
fn the_view_of_idle_peers() {
    let mut app = busy();
    press(&mut app, KeyCode::Char('2'));
    let screen = screen(&app);
    assert!(line(&screen, "60.4.0.4 ").contains("idle        30s 60.4.0.4  60.4/16  30s added"));
    assert!(lacks(&screen[..16], "60.1.0.1 "));
}

#[test]
fn the_view_of_banned_peers() {
    let mut app = busy();
    press(&mut app, KeyCode::Char('3'));
    let screen = screen(&app);
    assert!(line(&screen, " 60.5/16").contains("20s 60.5.0.5  60.5/16  10s refused: the peer is banned"));
}

#[test]
fn the_view_of_the_log_has_the_whole_screen() {
    let mut app = busy();
    press(&mut app, KeyCode::Char('4'));
    let screen = screen(&app);
    assert_eq!(screen[9], " 00:00:00 60.1.0.1        new -> OutConnecting: dialed");
    assert_eq!(screen[19], " 00:01:30 60.5.0.5        refused: the peer is banned");
    assert!(lacks(&screen, " log ─"));
}

#[test]
fn an_empty_view_says_so() {
    let mut app = new_app();
    assert!(!lacks(&screen(&app), "no peer is connected"));
    press(&mut app, KeyCode::Char('2'));
    assert!(!lacks(&screen(&app), "no peer is idle"));
    press(&mut app, KeyCode::Char('3'));
    assert!(!lacks(&screen(&app), "no peer is banned"));
}

#[test]
fn a_long_list_is_shown_around_the_selected_peer() {
    let mut app = new_app();
    (1..=100).for_each(|last| connect(&mut app, i64::from(last), ip(last)));
    let addresses = |app: &App| {
        let screen = screen(app);
        let shown = screen[10..].iter().take_while(|line| line.contains("alive"));
        let shown = shown.map(|line| line.split_whitespace().nth(3).unwrap().parse().unwrap());
        shown.collect::<Vec<IpAddr>>()
    };
    let first = addresses(&app);
    let lines = u8::try_from(first.len()).unwrap();
    assert!((5..10).contains(&lines), "{first:?}");
    assert_eq!(first, (1..=lines).map(ip).collect::<Vec<_>>());

    for _ in 0..50 {
        press(&mut app, KeyCode::Down);
    }
    let middle = addresses(&app);
    assert_eq!(middle[usize::from(lines / 2)], ip(50));
    let buffer = render(&app, 80, 24);
    let selected = (10..24).filter(|&y| buffer[(20, y)].modifier.contains(ratatui::style::Modifier::REVERSED));
    assert_eq!(selected.collect::<Vec<_>>(), [10 + u16::from(lines / 2)]);

    press(&mut app, KeyCode::End);
    assert_eq!(addresses(&app), (101 - lines..=100).map(ip).collect::<Vec<_>>());
}

#[test]
fn long_addresses_have_room() {
    let mut app = new_app();
    let long: IpAddr = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
    connect(&mut app, 0, long);
    let screen = screen(&app);
    assert!(
        screen[10].ends_with(&format!("{long}    0s reported aliv")),
        "{}",
        screen[10]
    );
    let wide = lines(&render(&app, 120, 24));
    assert!(
        wide[10].ends_with(&format!("{long}  2001:db8::/32   0s reported alive")),
        "{}",
        wide[10]
    );
    assert!(line(&screen, "dialed").contains(&format!("{long} new -> OutConnecting: dialed")));
}

#[test]
fn the_reason_is_shown_above_the_log() {
    let mut app = busy();
    press(&mut app, KeyCode::Char('w'));
    assert!(!lacks(&screen(&app), "select a peer"));
    press(&mut app, KeyCode::Char('2'));
    press(&mut app, KeyCode::Down);
    let mut peer = Peer::new(ip(4));
    peer.last_failure = Some(second(40));
    peer.failures_in_row = 3;
    app.on_details(Details {
        ip: ip(4),
        peer: Some(peer),
        dial_state: "it is left alone".to_owned(),
    });
    let shown = screen(&app);
    assert_eq!(line(&shown, "left alone"), " 60.4.0.4: it is left alone");
    assert_eq!(line(&shown, " Idle for"), " Idle for 30s, in 60.4/16");
    let history = " alive never, by a dial of ours never; failed 1m ago, 3 times in a row";
    assert_eq!(line(&shown, " alive never"), history);
    assert!(line(&shown[16..], " log ─").starts_with(" log"));
    press(&mut app, KeyCode::Char('4'));
    let log = screen(&app);
    assert!(lacks(&log, " log ─") && !lacks(&log, "left alone"));

    // Until the next peer's answer is there, that of the one before is not shown.
    app.selected = Some(ip(1));
    assert!(lacks(&screen(&app), "left alone"));
    let unknown = Details {
        ip: ip(1),
        peer: None,
        dial_state: "it is not known".to_owned(),
    };
    app.on_details(unknown);
    assert!(!lacks(&screen(&app), "60.1.0.1: it is not known"));
}

#[test]
fn a_long_reason_has_two_lines() {
    let mut app = busy();
    app.is_why_open = true;
    app.selected = Some(ip(4));
    app.on_details(Details {
        ip: ip(4),
        peer: Some(Peer::new(ip(4))),
        dial_state: format!("a sentence so long {} that it has two lines", "x".repeat(50)),
    });
    let shown = screen(&app);
    let first = shown.iter().position(|line| line.contains("so long")).unwrap();
    assert_eq!(shown[first + 1], " that it has two lines");
    assert!(shown[first + 2].starts_with(" Idle"));
    assert!(shown[first + 3].starts_with(" alive never"));
}

#[test]
fn the_last_line_has_the_prompt_the_notice_or_the_keys() {
    let mut app = busy();
    let last = |app: &App| screen(app)[23].clone();
    assert!(last(&app).starts_with(" Up Down select a peer"));
    press(&mut app, KeyCode::Down);
    assert_eq!(
        last(&app),
        " 60.1.0.1 b ban  u unban  d dial  r R reserve  w why             ? keys  q quit"
    );
    press(&mut app, KeyCode::Char('r'));
    assert!(last(&app).starts_with(" 60.1.0.1 is reserved"));
    assert!(screen(&app)[10].starts_with("R out alive"));
    type_in(&mut app, "a60.7");
    assert!(last(&app).starts_with(" dial: 60.7_"));
}

#[test]
fn a_pause_is_shown_at_the_top_as_long_as_it_lasts() {
    let mut app = busy();
    press(&mut app, KeyCode::Char('p'));
    app.on_time(second(1_000));
    assert!(screen(&app)[0].starts_with(" network  paused  60.1.0.1:31244 "));
    let wide = lines(&render(&app, 120, 24));
    assert!(wide[0].contains("2 out, 1 in, 4 known, 1 banned"), "{}", wide[0]);
    press(&mut app, KeyCode::Char('p'));
    assert!(screen(&app)[0].starts_with(" network  60.1.0.1:31244 "));
}

#[test]
fn the_keys_fit_into_a_small_terminal() {
    let mut app = busy();
    press(&mut app, KeyCode::Char('?'));
    let shown = screen(&app);
    for (keys, what) in crate::app::KEYS {
        assert!(line(&shown, what).contains(keys));
    }
    press(&mut app, KeyCode::Esc);
    assert!(lacks(&screen(&app), "lift its ban"));
}

#[test]
fn rates_are_drawn_with_the_newest_at_the_right() {
    let mut app = new_app();
    let mut stats = stats();
    for started in [0, 1, 1, 9] {
        stats.counters.dials_started = started;
        app.on_stats(stats.clone());
    }
    let left_half = |line: &String| line.chars().take(40).collect::<String>().trim_end().to_owned();
    let shown: Vec<_> = screen(&app).iter().map(left_half).collect();
    assert!(
        shown[5].starts_with(" dials 9, 0 failed, 0 timed out ─"),
        "{}",
        shown[5]
    );
    assert!(shown[6].starts_with(" 8/s"), "{}", shown[6]);
    assert!(shown[6].ends_with("  █"), "{}", shown[6]);
    assert!(shown[7].starts_with(" most 8/s"), "{}", shown[7]);
    assert!(shown[7].ends_with("▂ █"), "{}", shown[7]);
}

#[test]
fn a_failed_dump_is_shown_at_the_top() {
    let mut app = busy();
    let mut stats = stats();
    stats.last_dump = Some(second(70));
    app.on_stats(stats.clone());
    assert!(screen(&app)[0].ends_with("dumped 30s ago"));
    stats.last_dump_error = Some("disk full".to_owned());
    app.on_stats(stats);
    assert!(screen(&app)[0].ends_with("no dump: disk full"));
}

#[test]
fn no_size_of_the_terminal_is_a_panic() {
    let mut app = busy();
    for key in ['1', '3', '4', '?'] {
        app.is_why_open = true;
        press(&mut app, KeyCode::Char(key));
        for (width, height) in [(0, 0), (1, 1), (10, 3), (20, 8), (30, 50), (300, 4), (300, 100)] {
            render(&app, width, height);
        }
    }
}

#[test]
fn what_happened_has_the_colour_of_what_it_led_to() {
    let status = |to, cause| ChangeKind::Status { from: None, to, cause };
    let failed = Cause::Failed(Reporter::Lease);
    assert_eq!(change_color(status(PeerStatus::OutAlive, Cause::Alive)), Color::Green);
    assert_eq!(change_color(status(PeerStatus::Idle, failed)), Color::Magenta);
    assert_eq!(
        change_color(status(PeerStatus::Banned, Cause::Banned(Reporter::Lease))),
        Color::Red
    );
    assert_eq!(change_color(ChangeKind::Added), Color::Reset);
}
