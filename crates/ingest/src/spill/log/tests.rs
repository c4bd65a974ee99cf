//! What the log promises, across crashes, damage and kills.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use forecare_domain::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;

/// Tells the test binary, started again, that it is the one to be killed.
const DIRECTORY: &str = "FORECARE_TEST_SPILL_DIRECTORY";
const KILLS: usize = 15;

fn settings(dir: &Path) -> LogSettings {
    LogSettings {
        dir: dir.to_owned(),
        bytes_max: u64::MAX,
        disk_free_min: 0,
        segment_bytes: 400,
    }
}

fn open(dir: &Path) -> Log {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match Log::open(settings(dir)) {
            // A process that another test is starting holds our files until it is itself.
            Err(IngestError::SpillInUse { .. }) if std::time::Instant::now() < end => {
                std::thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Of a length that differs from number to number.
fn message(number: u64) -> Message {
    Message {
        topic: format!("devices/m{}/telemetry", number % 3),
        payload: number
            .to_string()
            .repeat(usize::try_from(number % 7).unwrap())
            .into(),
        content_type: number.is_multiple_of(2).then(|| "json".to_owned()),
        principal: number.is_multiple_of(5).then(|| number.to_string()),
        received_at: Timestamp::from_millis(1_700_000_000_000 + i64::try_from(number).unwrap()),
    }
}

fn group(numbers: std::ops::Range<u64>) -> Vec<Message> {
    numbers.map(message).collect()
}

/// Everything from the cursor on.
fn rest(log: &mut Log) -> Vec<Message> {
    let mut all = Vec::new();
    let mut at = log.cursor();
    while at.sequence < log.end().sequence {
        let found = log.read(at, 4, 1_000).unwrap();
        assert_eq!(found.n_damaged, 0);
        assert!(found.to.sequence > at.sequence);
        at = found.to;
        all.extend(found.messages);
    }
    all
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "spill"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn a_tail_torn_at_any_byte_leaves_the_whole_messages_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let mut ends = Vec::new();
    for number in 0..6 {
        log.append(&[group(number..number + 1)]).unwrap();
        ends.push(log.end().offset);
    }
    drop(log);
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        for filler in [&[][..], &[0; 40], b"\xff\xff\xff\xff garbage after a crash"] {
            let mut torn = whole[..length].to_vec();
            torn.extend_from_slice(filler);
            // What follows may happen to be what was torn off.
            let good = torn.iter().zip(&whole).take_while(|(a, b)| a == b).count();
            fs::write(&path, torn).unwrap();
            let n = ends.iter().filter(|end| **end <= good as u64).count() as u64;
            let mut log = open(dir.path());
            assert_eq!(rest(&mut log), group(0..n), "cut at {length}");
            // It goes on where it was cut.
            log.append(&[group(n..n + 2)]).unwrap();
            drop(log);
            assert_eq!(
                rest(&mut open(dir.path())),
                group(0..n + 2),
                "cut at {length}"
            );
            for path in segments(dir.path()) {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<u64>),
    Settle(usize),
    /// Ends without a word; what an append under way may have written is left behind.
    Crash(Vec<u8>),
    /// As after a power cut: the cursor is what it was some steps ago.
    OldCursor,
    NoCursor,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(1..6_u64, 1..4).prop_map(Step::Append),
        4 => (1..12_usize).prop_map(Step::Settle),
        2 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Crash),
        1 => Just(Step::OldCursor),
        1 => Just(Step::NoCursor),
    ]
}

fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let cursor = dir.path().join("cursor");
    let mut old_cursor = fs::read(&cursor).unwrap();
    let (mut settled, mut appended) = (0, 0);
    for step in steps {
        match step {
            Step::Append(sizes) => {
                let groups: Vec<_> = sizes
                    .iter()
                    .map(|size| {
                        appended += size;
                        group(appended - size..appended)
                    })
                    .collect();
                let spans = log.append(&groups).unwrap();
                for (group, (from, _)) in groups.iter().zip(spans) {
                    let found = log.read(from, group.len(), usize::MAX).unwrap();
                    prop_assert_eq!(&found.messages, group);
                }
            }
            Step::Settle(n) => {
                let found = log.read(log.cursor(), n, usize::MAX).unwrap();
                settled += found.messages.len() as u64;
                log.settle(found.to);
            }
            Step::Crash(torn) => {
                drop(log);
                if let Some(last) = segments(dir.path()).last() {
                    let mut file = OpenOptions::new().append(true).open(last).unwrap();
                    file.write_all(&torn).unwrap();
                }
                log = open(dir.path());
            }
            Step::OldCursor | Step::NoCursor => {
                drop(log);
                if matches!(step, Step::OldCursor) {
                    fs::write(&cursor, &old_cursor).unwrap();
                } else {
                    fs::remove_file(&cursor).unwrap();
                }
                log = open(dir.path());
                old_cursor = fs::read(&cursor).unwrap();
                // Some are read again; which ones follows from what is left of the segments.
                let n = log.n_messages();
                prop_assert!(n >= appended - settled);
                settled = appended - n;
            }
        }
        prop_assert_eq!(log.n_messages(), appended - settled);
        prop_assert_eq!(rest(&mut log), group(settled..appended));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_is_a_queue_across_crashes(steps in prop::collection::vec(step(), 1..30)) {
        follow(steps)?;
    }
}

#[test]
fn what_is_settled_leaves_the_disk_and_files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for number in 0..40 {
        log.append(&[group(number..number + 1)]).unwrap();
    }
    let n_segments = segments(dir.path()).len();
    assert!(n_segments > 3, "{n_segments}");
    #[cfg(unix)]
    for entry in fs::read_dir(dir.path()).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let found = log.read(log.cursor(), 40, usize::MAX).unwrap();
    log.settle(found.to);
    assert_eq!(segments(dir.path()).len(), n_segments - 1);
    log.settle(log.end());
    assert_eq!((segments(dir.path()).len(), log.bytes()), (0, 0));
    drop(log);
    assert_eq!(open(dir.path()).n_messages(), 0);
}

#[test]
fn a_full_log_takes_nothing_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(LogSettings {
        bytes_max: 1_000,
        ..settings(dir.path())
    })
    .unwrap();
    let mut n = 0;
    let why = loop {
        match log.append(&[group(n..n + 1)]) {
            Ok(_) => n += 1,
            Err(Refused::Full(why)) => break why,
            Err(Refused::Failed(error)) => panic!("{error}"),
        }
    };
    assert!(why.contains("spill.bytes_max"), "{why}");
    assert_eq!(rest(&mut log), group(0..n));
    log.settle(log.end());
    log.append(&[group(n..n + 1)]).unwrap();
    drop(log);

    let mut log = Log::open(LogSettings {
        disk_free_min: u64::MAX,
        ..settings(dir.path())
    })
    .unwrap();
    let Err(Refused::Full(why)) = log.append(&[group(0..1)]) else {
        panic!("there are not so many bytes on any disk");
    };
    assert!(why.contains("spill.disk_free_min"), "{why}");
}

/// Everything from the cursor on that can be read, and how much cannot; all of it is settled.
fn drain(log: &mut Log) -> (Vec<Message>, u64) {
    let (mut all, mut n_damaged) = (Vec::new(), 0);
    while log.n_messages() > 0 {
        let found = log.read(log.cursor(), 4, 1_000).unwrap();
        assert!(found.to.sequence > log.cursor().sequence);
        n_damaged += found.n_damaged;
        all.extend(found.messages);
        log.settle(found.to);
    }
    (all, n_damaged)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn one_damaged_record_of_a_closed_segment_costs_itself_alone() {
    for in_body in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let mut begins = Vec::new();
        for number in 0..40 {
            begins.push(log.end().offset);
            log.append(&[group(number..number + 1)]).unwrap();
        }
        let path = segments(dir.path()).remove(0);
        let begin = usize::try_from(begins[2]).unwrap();
        flip(
            &path,
            if in_body {
                begin + HEAD_BYTES + 9
            } else {
                begin + 1
            },
        );
        let mut expected = group(0..40);
        expected.remove(2);
        assert_eq!(drain(&mut log), (expected, 1));
        assert!(path.with_extension("damaged").exists() && !path.exists());
    }
}

#[test]
fn damage_anywhere_in_the_last_segment_costs_the_record_it_hits_and_is_no_torn_end() {
    let n = 8;
    let dir = tempfile::tempdir().unwrap();
    let roomy = || {
        Log::open(LogSettings {
            segment_bytes: 1 << 20,
            ..settings(dir.path())
        })
        .unwrap()
    };
    let mut log = roomy();
    let mut ends = Vec::new();
    for number in 0..n {
        log.append(&[group(number..number + 1)]).unwrap();
        ends.push(usize::try_from(log.end().offset).unwrap());
    }
    let cursor = fs::read(dir.path().join("cursor")).unwrap();
    drop(log);
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    // Behind the last record nothing tells damage from a torn end.
    for at in 0..ends[ends.len() - 2] {
        fs::write(&path, &whole).unwrap();
        fs::write(dir.path().join("cursor"), &cursor).unwrap();
        flip(&path, at);
        let mut log = roomy();
        assert_eq!((log.torn_bytes(), log.n_messages()), (0, n), "byte {at}");
        log.append(&[group(n..n + 2)]).unwrap();
        let mut expected = group(0..n + 2);
        let in_head = at < usize::try_from(SEGMENT_HEAD_BYTES).unwrap();
        if !in_head {
            expected.remove(ends.iter().position(|end| at < *end).unwrap());
        }
        assert_eq!(
            drain(&mut log),
            (expected, u64::from(!in_head)),
            "byte {at}"
        );
        let kept = path.with_extension("damaged");
        assert_eq!(kept.exists(), !in_head, "byte {at}");
        drop(log);
        for path in segments(dir.path()) {
            fs::remove_file(path).unwrap();
        }
        fs::remove_file(kept).ok();
    }
}

#[test]
fn a_cursor_behind_two_damaged_records_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(LogSettings {
        segment_bytes: 1 << 20,
        ..settings(dir.path())
    })
    .unwrap();
    let mut begins = Vec::new();
    for number in 0..12 {
        begins.push(usize::try_from(log.end().offset).unwrap());
        log.append(&[group(number..number + 1)]).unwrap();
    }
    let found = log.read(log.cursor(), 8, usize::MAX).unwrap();
    log.settle(found.to);
    drop(log);
    // Lengths, so that nobody knows how many records lay there.
    let path = segments(dir.path()).remove(0);
    flip(&path, begins[3]);
    flip(&path, begins[4]);
    let mut log = open(dir.path());
    assert_eq!((log.cursor().sequence, log.n_messages()), (8, 4));
    log.append(&[group(12..14)]).unwrap();
    assert_eq!(drain(&mut log), (group(8..14), 0));
}

#[test]
fn what_is_read_again_goes_on_behind_damage_and_not_beyond_its_end() {
    // (damaged records, asked for at once): in the middle, at both ends and beyond, several, all.
    for (damaged, n_at_once) in [
        (vec![5], 6),
        (vec![2, 7, 8], 6),
        (vec![3, 5], 2),
        (vec![2, 3, 4, 5, 6, 7], 6),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(LogSettings {
            segment_bytes: 1 << 20,
            ..settings(dir.path())
        })
        .unwrap();
        let mut begins = Vec::new();
        for number in 0..12 {
            begins.push(log.end());
            log.append(&[group(number..number + 1)]).unwrap();
        }
        let from = log.read(log.cursor(), 2, usize::MAX).unwrap().to;
        let to = log.read(from, 6, usize::MAX).unwrap().to;
        assert_eq!((from, to), (begins[2], begins[8]));
        let path = segments(dir.path()).remove(0);
        for number in &damaged {
            flip(&path, usize::try_from(begins[*number].offset).unwrap() + 9);
        }
        let (mut all, mut at) = (Vec::new(), from);
        while at != to {
            let found = log.read_again(at, to, n_at_once).unwrap();
            all.extend(found.messages);
            at = found.to;
        }
        let mut expected = group(2..8);
        let mut number = 2;
        expected.retain(|_| {
            number += 1;
            !damaged.contains(&(number - 1))
        });
        assert_eq!(all, expected, "{damaged:?}");
    }
}

#[test]
fn a_last_segment_that_the_disk_does_not_give_is_kept_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for number in 0..20 {
        log.append(&[group(number..number + 1)]).unwrap();
    }
    drop(log);
    let path = segments(dir.path()).pop().unwrap();
    // Can be opened and not be read.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let mut log = open(dir.path());
    assert!(log.n_lost() > 0);
    assert!(path.with_extension("damaged").exists());
    log.append(&[group(20..22)]).unwrap();
    let mut all = Vec::new();
    while log.n_messages() > 0 {
        let found = log.read(log.cursor(), 4, 1_000).unwrap();
        all.extend(found.messages);
        log.settle(found.to);
    }
    assert_eq!(all[..3], group(0..3)[..]);
    assert_eq!(all[all.len() - 2..], group(20..22)[..]);
}

#[test]
fn a_second_process_is_told_who_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let _log = open(dir.path());
    let error = Log::open(settings(dir.path())).unwrap_err();
    assert!(error.to_string().contains("spill.dir"), "{error}");
}

/// Only does something when [`kill_9_at_any_moment_loses_and_reorders_nothing`] starts it.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let mut log = Log::open(LogSettings {
        segment_bytes: 20_000,
        ..settings(Path::new(&dir))
    })
    .unwrap();
    let mut said = std::io::stdout().lock();
    loop {
        let begin = log.end().sequence;
        log.append(&[group(begin..begin + 50), group(begin + 50..begin + 90)])
            .unwrap();
        writeln!(said, "appended {}", begin + 90).unwrap();
        let found = log.read(log.cursor(), 70, usize::MAX).unwrap();
        writeln!(said, "settling {}", found.to.sequence).unwrap();
        log.settle(found.to);
    }
}

#[test]
fn kill_9_at_any_moment_loses_and_reorders_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut appended, mut settling) = (0, 0);
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "spill::log::tests::the_process_that_is_killed",
                "--exact",
                "--nocapture",
            ])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        let mut hear = |line: &str| {
            // A line cut short by the kill ends with fewer digits: too small, so harmless.
            if let Some((what, number)) = line.split_once(' ')
                && let Ok(number) = number.parse::<u64>()
            {
                match what {
                    "appended" => appended = appended.max(number),
                    "settling" => settling = settling.max(number),
                    _ => return,
                }
                heard += 1;
            }
        };
        for line in said.by_ref().take(4 + (round * 7) % 23) {
            hear(&line.unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in said.map_while(Result::ok) {
            hear(&line);
        }
        assert!(heard > 0, "it ended by itself");
        let mut log = open(dir.path());
        let (from, to) = (log.cursor().sequence, log.end().sequence);
        assert!(to >= appended, "{appended} acknowledged, {to} there");
        assert!(
            from <= settling,
            "settled to {settling}, but read from {from}"
        );
        assert_eq!(rest(&mut log), group(from..to));
    }
}
