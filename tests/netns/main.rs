//! Nodes on hosts of their own, in a network that fails as networks do: links go down, the network falls in two,
//! packets are late or lost, a host answers nobody.
//!
//! Needs Linux with `unshare` and `ip`, and no root. Where they are missing each test says so and counts as ignored.

mod cluster;
mod node;
#[path = "../support/skip.rs"]
mod skip;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, EVERYBODY, LIMIT, LOOK_INTERVAL, require};
use network::NetworkConfig;
use network_lab::topology::{self, Lab, Link, Weather, host_of};
use network_lab::{tests, trials, wire};
use node::Settings;
use skip::skip;

const PORT: u16 = 31_244;

fn main() -> ExitCode {
    if make_a_lab_if_asked() {
        return ExitCode::SUCCESS;
    }
    trials::run(
        &[node::run_if_asked, wire::run_if_asked],
        Lab::check,
        None,
        tests![
            a_lab_ends_with_the_process_that_made_it,
            a_node_that_switches_its_link_off_records_no_failures,
            a_node_whose_cable_is_out_records_no_failures,
            two_partitions_live_on_and_join_again,
            latency_and_loss_leave_one_connection_a_pair,
            a_black_hole_costs_timeouts_and_only_its_own_failures,
            a_node_told_of_its_own_address_dials_itself_once,
            addresses_of_a_family_that_is_switched_off_pause_no_dials,
        ],
    )
}

/// The variable of the environment by which the processes of one lab are known, and that asks for it.
const LAB_MARK: &str = "LAB_MARK";

fn a_lab_ends_with_the_process_that_made_it() {
    let mark = format!("{LAB_MARK}={}", std::process::id());
    let processes = || -> Vec<PathBuf> {
        let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
        let environment = |process: &PathBuf| fs::read(process.join("environ")).unwrap_or_default();
        all.filter(|process| {
            environment(process)
                .split(|&byte| byte == 0)
                .any(|one| one == mark.as_bytes())
        })
        .collect()
    };
    let mut maker = Command::new(std::env::current_exe().unwrap());
    maker
        .env(LAB_MARK, std::process::id().to_string())
        .stdout(Stdio::piped());
    let mut maker = maker.spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(maker.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert!(
        processes().len() > 4,
        "the maker, what holds three namespaces, and a program"
    );

    maker.kill().unwrap();
    maker.wait().unwrap();
    let start = Instant::now();
    while !processes().is_empty() {
        assert!(start.elapsed() < LIMIT, "{:?} are left", processes());
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Makes a lab and waits to be killed, if that is what this process was started for.
fn make_a_lab_if_asked() -> bool {
    if std::env::var_os(LAB_MARK).is_none() {
        return false;
    }
    let lab = Lab::new(2);
    let program = lab
        .host(1)
        .spawn("sh", &["-c", "echo started; sleep 1000 & sleep 1000"]);
    assert_eq!(program.line(), "started");
    println!("ready");
    loop {
        thread::park();
    }
}

fn a_node_that_switches_its_link_off_records_no_failures() {
    let mut cluster = Cluster::new(Lab::new(5), &settings(2));
    cluster.introduce_all();
    cluster.settle(&[EVERYBODY]);
    // The kernel itself says that there is no way.
    outage(&mut cluster, Link::Down, "dials_unroutable");
}

fn a_node_whose_cable_is_out_records_no_failures() {
    let mut cluster = Cluster::new(Lab::new(5), &settings(2));
    cluster.introduce_all();
    cluster.settle(&[EVERYBODY]);
    // All that the node can see is that nobody answers.
    outage(&mut cluster, Link::Unplugged, "dials_timed_out");
}

/// The first host loses its link for longer than any patience, and gets it back.
fn outage(cluster: &mut Cluster, link: Link, symptom: &str) {
    let before = cluster.views();
    cluster.lab.set_link(HOST, link);
    cluster.until("the node has lost all connections", |cluster| {
        let connected = cluster.view(HOST).connected();
        require(connected.is_empty(), || format!("still connected to {connected:?}"))
    });
    let lost = cluster.view(HOST);
    cluster.until("it tries and tries", |cluster| {
        let tries = cluster.view(HOST).counters[symptom] - lost.counters[symptom];
        require(tries > 4, || format!("{symptom} only {tries} times"))
    });
    cluster.until("the others have given it up", |cluster| {
        let views = cluster.views();
        let loyal: Vec<_> = views
            .values()
            .filter(|view| view.connected().contains(&topology::ip(HOST)))
            .collect();
        require(loyal.is_empty(), || format!("{} still believe in it", loyal.len()))
    });
    let tried = cluster.view(HOST);
    assert_eq!(tried.blamed(), lost.blamed(), "blames others for its own link");

    cluster.lab.set_link(HOST, Link::Up);
    cluster.settle(&[EVERYBODY]);
    let after = cluster.views();
    let returned = &after[&topology::ip(HOST)];
    for (ip, streak) in returned.blamed() {
        let earlier = lost.peer(ip).failures_in_row;
        assert!(
            streak <= earlier,
            "{ip} failed {streak} times in a row, {earlier} before"
        );
    }
    for (ip, view) in after.iter().filter(|(ip, _)| **ip != topology::ip(HOST)) {
        let others = view
            .blamed()
            .into_iter()
            .filter(|(blamed, _)| *blamed != topology::ip(HOST));
        for (blamed, streak) in others {
            let earlier = before[ip].peer(blamed).failures_in_row;
            assert!(
                streak <= earlier + CROSSING_BLAME,
                "{ip} blames {blamed}, whose link was up"
            );
        }
    }
}

fn two_partitions_live_on_and_join_again() {
    const HALVES: [&[u8]; 2] = [&[1, 2, 3], &[4, 5, 6]];
    let mut cluster = Cluster::new(Lab::new(6), &settings(2));
    cluster.introduce_all();
    cluster.settle(&[EVERYBODY]);

    cluster.lab.partition(HALVES[1]);
    cluster.settle(&HALVES);
    for half in HALVES {
        for (&number, &other) in half
            .iter()
            .flat_map(|number| half.iter().map(move |other| (number, other)))
        {
            if number != other {
                let streak = cluster.view(number).peer(topology::ip(other)).failures_in_row;
                assert!(streak <= CROSSING_BLAME, "{number} blames {other}, of its own half");
            }
        }
    }

    cluster.lab.heal();
    cluster.settle(&[EVERYBODY]);
    // In its half nobody could have its target: three nodes have three connections.
    let views = cluster.views();
    let crosses = |number: &u8| {
        views[&topology::ip(*number)]
            .connected()
            .iter()
            .any(|ip| HALVES[1].contains(&host_of(*ip)))
    };
    assert!(HALVES[0].iter().any(crosses), "no connection between the halves");
}

fn latency_and_loss_leave_one_connection_a_pair() {
    let mut lab = Lab::new(5);
    let weather = Weather {
        delay: Duration::from_millis(200),
        loss_percent: 10,
    };
    (1..=5).for_each(|number| lab.set_weather(number, weather));
    let mut cluster = Cluster::new(lab, &patient_settings(2));
    cluster.introduce_all();
    cluster.settle(&[EVERYBODY]);
    let (fastest, expected) = (cluster.least("minrtt:"), weather.delay.as_secs_f64() * 2_000.0);
    assert!(fastest >= Some(expected), "there and back in {fastest:?} ms");

    cluster.until("many packets were lost", |cluster| {
        let lost = cluster.retransmissions();
        require(lost > 20, || format!("only {lost} were sent again"))
    });
    cluster.settle(&[EVERYBODY]);
}

fn a_black_hole_costs_timeouts_and_only_its_own_failures() {
    const HOLE: u8 = 6;
    const LIVING: &[u8] = &[1, 2, 3, 4, 5];
    let lab = Lab::new(HOLE);
    lab.set_link(HOLE, Link::BlackHole);
    // More than there are others, so that the hole is wanted, too.
    let mut cluster = Cluster::new(lab, &settings(6));
    cluster.introduce_all();
    cluster.settle(&[LIVING, &[HOLE]]);
    for &number in LIVING {
        cluster.until("the hole is tried again and again", |cluster| {
            let timeouts = cluster.view(number).counters["dials_timed_out"];
            require(timeouts >= 4, || {
                format!("host {number} waited for it {timeouts} times")
            })
        });
    }
    let mut blamed = 0;
    for &number in LIVING {
        let view = cluster.view(number);
        blamed += view.peer(topology::ip(HOLE)).failures_in_row;
        assert_eq!(view.counters["dials_unroutable"], 0, "no answer is no want of a way");
        assert_eq!(view.connected().len() + 1, LIVING.len(), "{number} has lost somebody");
        for (ip, streak) in view.blamed().into_iter().filter(|(ip, _)| host_of(*ip) != HOLE) {
            assert!(streak <= CROSSING_BLAME, "{number} blames {ip} for the hole");
        }
    }
    // By those who have an outgoing connection: the others cannot tell it from an outage of their own.
    assert!(blamed >= 4, "the hole is blamed {blamed} times");
    assert!(cluster.view(HOLE).blamed().is_empty(), "the hole blames others");

    cluster.lab.set_link(HOLE, Link::Up);
    cluster.settle(&[EVERYBODY]);
}

fn a_node_told_of_its_own_address_dials_itself_once() {
    let mut cluster = Cluster::of_open_nodes(Lab::new(3), &settings(3));
    // Who listens at every address cannot know which these are until a dial comes out at itself.
    cluster.introduce_all();
    cluster.settle(&[EVERYBODY]);
    cluster.introduce_all();
    cluster.settle(&[EVERYBODY]);
    for (ip, view) in cluster.views() {
        let met = ["dials_to_self", "refused_self"].map(|name| view.counters[name]);
        assert_eq!(met, [1, 1], "{ip} met itself so often, going out and coming in");
    }
}

fn addresses_of_a_family_that_is_switched_off_pause_no_dials() {
    const HOSTS: u8 = 5;
    // A kernel that knows no IPv6 at all has no such file.
    const SWITCH_OFF: &str = "off=/proc/sys/net/ipv6/conf/all/disable_ipv6; test ! -e $off || echo 1 >$off";
    let lab = Lab::new(HOSTS);
    let switched = lab.host(HOST).command("sh").args(["-c", SWITCH_OFF]).output().unwrap();
    if !switched.status.success() {
        return skip(format_args!("IPv6 cannot be switched off here: {switched:?}"));
    }
    // They listen at every address, so that their dials leave from any.
    let mut cluster = Cluster::of_open_nodes(lab, &settings(usize::from(HOSTS) - 1));
    cluster.views();
    let ipv6 = (1..=300).map(|subnet| Ipv6Addr::new(0x2a00, subnet, 0, 0, 0, 0, 0, 1).into());
    let others = (1..=HOSTS).filter(|&number| number != HOST).map(topology::ip);
    cluster.introduce(HOST, &ipv6.chain(others).collect::<Vec<_>>());
    cluster.until("the node has found the others", |cluster| {
        let connected = cluster.view(HOST).connected().len();
        require(connected + 1 == usize::from(HOSTS), || format!("has found {connected}"))
    });
    let counters = cluster.view(HOST).counters;
    assert_eq!(counters["dials_host_faults"], 0, "takes them for a fault of its own");
    assert!(counters["dials_unroutable"] > 0, "has dialed none of them");
}

/// The host of which the tests of one host speak.
const HOST: u8 = 1;

/// When two dial each other, an end that reports the connection that is given up before the other one came in counts
/// one failure.
const CROSSING_BLAME: u32 = 1;

/// A node in a hurry: an outage of seconds is a long one.
fn settings(target: usize) -> Settings {
    let mut config = NetworkConfig::in_memory(PORT);
    config.target_outgoing_connections = target;
    config.max_simultaneous_outgoing_connection_attempts = target.max(1) * 2;
    config.connect_timeout = Duration::from_secs(1);
    config.dial_stagger = Duration::from_millis(50);
    config.handshake_timeout = Some(Duration::from_secs(6));
    config.retry_backoff = Duration::from_millis(200);
    config.max_retry_backoff = Duration::from_secs(1);
    // The addresses of the lab are as good as any on the Internet.
    config.global_peers_only = true;
    Settings {
        config,
        handshake: Duration::from_secs(3),
        round: Duration::from_millis(500),
        patience: Duration::from_secs(3),
    }
}

/// A node for whom an answer may take seconds.
fn patient_settings(target: usize) -> Settings {
    let mut settings = settings(target);
    settings.config.connect_timeout = Duration::from_secs(8);
    settings.config.handshake_timeout = Some(Duration::from_secs(20));
    settings.handshake = Duration::from_secs(15);
    settings.round = Duration::from_secs(2);
    settings.patience = Duration::from_secs(15);
    settings
}
