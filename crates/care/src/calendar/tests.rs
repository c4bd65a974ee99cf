//! Against the wall clock, minute by minute.

use forecare_domain::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::file::{HolidayFile, WeekFile};
use super::{Calendar, CalendarError, CalendarFile};

const OFFICE: &str = r#"
    time_zone = "Europe/Zurich"
    [week]
    mon = ["08:00-12:00", "13:00-17:00"]
    tue = ["08:00-12:00", "13:00-17:00"]
    fri = ["22:00-06:00"]
    [[holiday]]
    date = "2026-12-25"
    title = "Christmas Day"
    [[holiday]]
    date = "2026-12-22"
    hours = ["08:00-12:00"]
"#;

fn calendar(toml: &str) -> Calendar {
    toml::from_str(toml).unwrap()
}

fn t(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn refusal(toml: &str) -> String {
    toml::from_str::<Calendar>(toml).unwrap_err().to_string()
}

const HOUR: i64 = 3_600_000;

#[test]
fn a_week_of_office_hours_is_counted() {
    let c = calendar(OFFICE);
    // Monday 2026-03-02, 08:00 in Zurich is 07:00 UTC.
    let (mon, next_mon) = (t("2026-03-02T00:00:00Z"), t("2026-03-09T00:00:00Z"));
    assert_eq!(c.open_ms(mon, next_mon), 24 * HOUR);
    assert_eq!(c.next_open(mon), Some(t("2026-03-02T07:00:00Z")));
    assert_eq!(
        c.after_open_ms(mon, 5 * HOUR),
        Some(t("2026-03-02T13:00:00Z"))
    );
    assert_eq!(
        c.after_open_ms(mon, 4 * HOUR),
        Some(t("2026-03-02T11:00:00Z"))
    );
    assert!(
        c.is_open(t("2026-03-07T04:59:59Z")),
        "Saturday morning belongs to Friday's night"
    );
    assert!(!c.is_open(t("2026-03-07T05:00:00Z")));
}

#[test]
fn a_span_across_midnight_is_one_opening() {
    let c = calendar(OFFICE);
    let night: Vec<_> = c
        .openings(t("2026-03-06T12:00:00Z"), t("2026-03-08T00:00:00Z"))
        .collect();
    assert_eq!(
        night,
        [(t("2026-03-06T21:00:00Z"), t("2026-03-07T05:00:00Z"))]
    );
}

#[test]
fn holidays_are_closed_or_shortened() {
    let c = calendar(OFFICE);
    // Tuesday the 22nd is short, Friday the 25th closed: its night does not begin.
    let (mon, next_mon) = (t("2026-12-21T00:00:00Z"), t("2026-12-28T00:00:00Z"));
    assert_eq!(c.open_ms(mon, next_mon), 12 * HOUR);
}

#[test]
fn a_night_shift_is_an_hour_shorter_or_longer_when_the_clocks_change() {
    let c = calendar("time_zone = \"Europe/Zurich\"\n[week]\nsat = [\"22:00-06:00\"]");
    let night = |from, to| c.open_ms(t(from), t(to)) / HOUR;
    assert_eq!(night("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), 7);
    assert_eq!(night("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), 9);
    assert_eq!(night("2026-06-06T12:00:00Z", "2026-06-07T12:00:00Z"), 8);
}

#[test]
fn around_the_clock_is_plain_time() {
    let c = Calendar::around_the_clock();
    let from = t("2026-03-28T12:00:00Z");
    assert_eq!(
        c.after_open_ms(from, 36 * HOUR),
        Some(t("2026-03-30T00:00:00Z"))
    );
    assert_eq!(c.open_ms(from, t("2026-03-30T00:00:00Z")), 36 * HOUR);
    assert_eq!(c.next_open(from), Some(from));
    assert_eq!(c.after_open_ms(from, i64::MAX), None);
    let round: Calendar = serde_json::from_str(&serde_json::to_string(&c).unwrap()).unwrap();
    assert_eq!(round, c);
}

#[test]
fn a_calendar_survives_its_file() {
    let c = calendar(OFFICE);
    let json = serde_json::to_string(&c).unwrap();
    assert_eq!(serde_json::from_str::<Calendar>(&json).unwrap(), c);
    let written = toml::to_string(&c).unwrap();
    assert_eq!(calendar(&written), c);
}

#[test]
fn what_is_wrong_is_named() {
    let zurich = "time_zone = \"Europe/Zurich\"\n";
    for (toml, expected) in [
        (
            "time_zone = \"Mars/Phobos\"\n[week]\nmon = [\"08:00-09:00\"]".to_owned(),
            "\"Mars/Phobos\"",
        ),
        (
            "[week]\nmon = [\"08:00-09:00\"]".to_owned(),
            "time_zone \"\"",
        ),
        (zurich.to_owned(), "no opening hours"),
        (
            format!("{zurich}[week]\nmon = [\"8-17\"]"),
            "week.mon: \"8-17\"",
        ),
        (
            format!("{zurich}[week]\nsun = [\"08:00-25:00\"]"),
            "week.sun: \"08:00-25:00\"",
        ),
        (
            format!("{zurich}[week]\nsun = [\"08:00-08:00\"]"),
            "a whole day as",
        ),
        (
            format!("{zurich}[week]\ntue = [\"13:00-17:00\", \"08:00-13:30\"]"),
            "08:00-13:30 and 13:00-17:00 overlap",
        ),
        (
            format!("{zurich}[week]\ntue = [\"13:00-17:00\"]\n[[holiday]]\ndate = \"2026-02-30\""),
            "\"2026-02-30\" is no date",
        ),
        (
            format!(
                "{zurich}[week]\ntue = [\"13:00-17:00\"]\n[[holiday]]\ndate = \"2026-02-03\"\n[[holiday]]\ndate = \"2026-02-03\""
            ),
            "given twice",
        ),
        (
            "around_the_clock = true\n[week]\nmon = [\"08:00-17:00\"]".to_owned(),
            "around_the_clock",
        ),
        (
            format!("{zurich}[week]\nmonday = [\"08:00-17:00\"]"),
            "monday",
        ),
    ] {
        let text = refusal(&toml);
        assert!(text.contains(expected), "{toml}: {text}");
    }
}

#[test]
fn what_never_opens_again_is_said() {
    let mut file = CalendarFile {
        time_zone: "UTC".to_owned(),
        week: WeekFile {
            mon: vec!["08:00-09:00".to_owned()],
            ..WeekFile::default()
        },
        ..CalendarFile::default()
    };
    let mut day: jiff::civil::Date = "2026-01-05".parse().unwrap();
    for _ in 0..600 {
        file.holidays.push(HolidayFile {
            date: day.to_string(),
            ..HolidayFile::default()
        });
        day += jiff::Span::new().days(7);
    }
    let c = Calendar::try_from(file).unwrap();
    assert_eq!(c.next_open(t("2026-01-01T00:00:00Z")), None);
    assert_eq!(c.after_open_ms(t("2026-01-01T00:00:00Z"), 1), None);
    assert_eq!(
        c.open_ms(t("2026-01-01T00:00:00Z"), t("2027-01-01T00:00:00Z")),
        0
    );
}

#[test]
fn too_much_is_refused() {
    let file = CalendarFile {
        time_zone: "UTC".to_owned(),
        week: WeekFile {
            mon: vec!["08:00-09:00".to_owned(); 25],
            ..WeekFile::default()
        },
        ..CalendarFile::default()
    };
    assert!(matches!(
        Calendar::try_from(file),
        Err(CalendarError::TooMany { .. })
    ));
}

/// Is the wall clock inside a span? Straight from the file, by the library's own calendar arithmetic.
fn open_by_the_wall(file: &CalendarFile, at: Timestamp) -> bool {
    let zone = TimeZone::get(&file.time_zone).unwrap();
    let wall = jiff::Timestamp::from_millisecond(at.as_millis())
        .unwrap()
        .to_zoned(zone);
    let now = i64::from(wall.hour()) * 60 + i64::from(wall.minute());
    let spans = |date: jiff::civil::Date| -> Vec<String> {
        if let Some(holiday) = file.holidays.iter().find(|h| h.date == date.to_string()) {
            return holiday.hours.clone();
        }
        let w = &file.week;
        [&w.mon, &w.tue, &w.wed, &w.thu, &w.fri, &w.sat, &w.sun]
            [usize::try_from(date.weekday().to_monday_zero_offset()).unwrap()]
        .clone()
    };
    let inside = |span: &String, minute: i64| {
        let n: Vec<i64> = span.split(['-', ':']).map(|n| n.parse().unwrap()).collect();
        let (from, mut to) = (n[0] * 60 + n[1], n[2] * 60 + n[3]);
        if to <= from {
            to += 1_440;
        }
        (from..to).contains(&minute)
    };
    let date = wall.date();
    spans(date).iter().any(|s| inside(s, now))
        || spans(date.yesterday().unwrap())
            .iter()
            .any(|s| inside(s, now + 1_440))
}

/// Zones with changes at 02:00, at midnight, by half an hour, near the date line, without any.
const ZONES: [&str; 9] = [
    "Europe/Zurich",
    "America/New_York",
    "America/Havana",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Cairo",
    "UTC",
];

/// Disjoint spans of a day from cut points, the last of which may pass midnight.
fn spans() -> impl Strategy<Value = Vec<String>> {
    (
        prop::collection::btree_set(0..1_440_i64, 0..=4),
        prop::option::of(1..1_440_i64),
    )
        .prop_map(|(cuts, overnight)| {
            let cuts: Vec<i64> = cuts.into_iter().collect();
            let clock = |m: i64| format!("{:02}:{:02}", m / 60, m % 60);
            let mut spans: Vec<String> = cuts
                .chunks_exact(2)
                .map(|pair| format!("{}-{}", clock(pair[0]), clock(pair[1])))
                .collect();
            if let (Some(last), Some(to)) = (cuts.chunks_exact(2).remainder().first(), overnight) {
                // Up to the same time on the next day, at most.
                let to = to.min(last - 1);
                if to >= 0 {
                    spans.push(format!("{}-{}", clock(*last), clock(to)));
                }
            }
            spans
        })
}

fn any_file() -> impl Strategy<Value = (CalendarFile, i64)> {
    // Start days around changes of the clocks and elsewhere, 1990 to 2036.
    let start = prop_oneof![
        Just(t("2026-03-28T00:00:00Z").as_millis()),
        Just(t("2026-10-23T00:00:00Z").as_millis()),
        Just(t("2026-03-07T00:00:00Z").as_millis()),
        Just(t("2026-10-31T00:00:00Z").as_millis()),
        Just(t("2007-11-03T00:00:00Z").as_millis()),
        Just(t("2011-12-29T00:00:00Z").as_millis()),
        Just(t("2026-04-03T00:00:00Z").as_millis()),
        (7_305..24_000_i64).prop_map(|day| day * 86_400_000),
    ];
    (
        prop::sample::select(&ZONES[..]),
        prop::collection::vec(spans(), 7),
        prop::collection::btree_map(0..5_i64, spans(), 0..3),
        start,
    )
        .prop_map(|(zone, week, holidays, start)| {
            let day = |n: i64| {
                jiff::Timestamp::from_millisecond(start + n * 86_400_000)
                    .unwrap()
                    .to_zoned(TimeZone::UTC)
                    .date()
                    .to_string()
            };
            let mut week = week.into_iter();
            let mut next = || week.next().unwrap();
            let file = CalendarFile {
                around_the_clock: false,
                time_zone: zone.to_owned(),
                week: WeekFile {
                    mon: next(),
                    tue: next(),
                    wed: next(),
                    thu: next(),
                    fri: next(),
                    sat: next(),
                    sun: next(),
                },
                holidays: holidays
                    .into_iter()
                    .map(|(n, hours)| HolidayFile {
                        date: day(n),
                        title: String::new(),
                        hours,
                    })
                    .collect(),
            };
            (file, start)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_minute_agrees_with_the_wall_clock((file, start) in any_file(), from_min in 0..3_000_i64, span_min in 0..4_000_i64, want_min in 1..3_000_i64) {
        let Ok(c) = Calendar::try_from(file.clone()) else {
            prop_assume!(false);
            unreachable!()
        };
        let minute = |n: i64| Timestamp::from_millis(start + n * 60_000);
        let open: Vec<bool> = (0..7_000).map(|n| open_by_the_wall(&file, minute(n))).collect();
        let count = |from: i64, to: i64| {
            let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
            i64::try_from(open[range].iter().filter(|o| **o).count()).unwrap()
        };
        // Working time between two instants.
        let to_min = from_min + span_min;
        prop_assert_eq!(c.open_ms(minute(from_min), minute(to_min)), count(from_min, to_min) * 60_000);
        // Openings are disjoint, apart, and cover it.
        let openings: Vec<_> = c.openings(minute(from_min), minute(to_min)).collect();
        prop_assert!(openings.windows(2).all(|w| w[0].1 < w[1].0));
        let covered: i64 = openings.iter().map(|(a, b)| b.as_millis() - a.as_millis()).sum();
        prop_assert_eq!(covered, count(from_min, to_min) * 60_000);
        // The instant at which a working time has passed: the end of the last open minute it needs.
        let mut left = want_min;
        let by_hand = (from_min..7_000).find(|n| {
            left -= i64::from(open[usize::try_from(*n).unwrap()]);
            left == 0
        });
        if let Some(n) = by_hand {
            prop_assert_eq!(c.after_open_ms(minute(from_min), want_min * 60_000), Some(minute(n + 1)));
        }
        // The next opening.
        let next = (from_min..7_000).find(|n| open[usize::try_from(*n).unwrap()]);
        if let Some(n) = next {
            prop_assert_eq!(c.next_open(minute(from_min)), Some(minute(n)));
        }
    }

    #[test]
    fn the_two_directions_agree_to_the_millisecond((file, start) in any_file(), offset in 0..300_000_000_i64, ms in 1..2_000_000_000_i64) {
        let Ok(c) = Calendar::try_from(file) else {
            prop_assume!(false);
            unreachable!()
        };
        let from = Timestamp::from_millis(start + offset);
        if let Some(at) = c.after_open_ms(from, ms) {
            prop_assert_eq!(c.open_ms(from, at), ms);
            let before = Timestamp::from_millis(at.as_millis() - 1);
            prop_assert_eq!(c.open_ms(from, before), ms - 1);
        }
    }
}
