//! What the example `testnet` draws fits into a terminal of any size.

#[path = "../testnet/screen.rs"]
mod screen;

use screen::{Phase, Row, lines};

fn rows(count: usize) -> Vec<Row> {
    let row = |number| Row {
        name: format!(".{number}"),
        state: "killed",
        out: 100,
        incoming: 100,
        known: 64,
        banned: 64,
        dials_per_second: 1_000,
    };
    (1..=count).map(row).collect()
}

fn phases(count: usize) -> Vec<Phase> {
    let phase = |number| Phase {
        name: format!("phase {number}"),
        unit: "nodes as expected",
        done: 64,
        of: 64,
        outcome: "in 12.3 s".to_owned(),
    };
    (1..=count).map(phase).collect()
}

#[test]
fn it_fits_and_the_last_phase_is_always_there() {
    for (height, width) in (2..100).flat_map(|height| (1..120).map(move |width| (height, width))) {
        let lines = lines(&rows(64), &phases(5), height, width);
        assert!(lines.len() < height, "{height}: {lines:#?}");
        assert!(lines.iter().all(|line| line.len() <= width), "{width}: {lines:#?}");
        let last = lines.last().unwrap();
        assert!(last.starts_with(&"phase 5"[..width.min(7)]), "{lines:#?}");
    }
}

#[test]
fn in_80_columns_nothing_is_cut_off() {
    let wide = lines(&rows(64), &phases(5), 50, 1_000);
    assert_eq!(lines(&rows(64), &phases(5), 50, 80), wide);
    assert!(
        wide.iter().any(|line| line.contains(".32 ") && line.contains(".64 ")),
        "{wide:#?}"
    );
}

#[test]
fn how_long_a_phase_took_is_shown_in_60_columns_too() {
    for (width, has_bar) in [(60, false), (77, false), (78, true)] {
        let lines = lines(&rows(24), &phases(5), 24, width);
        let last = lines.last().unwrap();
        assert!(last.ends_with("64/64 nodes as expected in 12.3 s"), "{last}");
        assert_eq!(last.contains("[====="), has_bar, "{last}");
    }
}

#[test]
fn in_24_lines_24_nodes_and_all_phases_have_room() {
    let lines = lines(&rows(24), &phases(5), 24, 80);
    assert!((1..=24).all(|number| lines.iter().any(|line| line.contains(&format!(".{number} ")))));
    assert!((1..=5).all(|number| lines.iter().any(|line| line.starts_with(&format!("phase {number} ")))));
}

#[test]
fn nodes_that_are_left_out_are_counted() {
    let lines = lines(&rows(64), &phases(5), 24, 80);
    let shown = lines.iter().map(|line| line.matches("killed").count()).sum::<usize>();
    assert_eq!(lines.len(), 23);
    assert!(lines.contains(&format!("and {} more nodes", 64 - shown)), "{lines:#?}");
}
