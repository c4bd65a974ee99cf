//! What is exported reads back as the same; what is wrong is named by line and column.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail by panicking"
)]

use std::collections::BTreeMap;

use forecare_care::calendar::{CalendarFile, HolidayFile, WeekFile};
use forecare_domain::{Priority, Timestamp};
use forecare_registry::{
    AssetDetails, BillItem, Body, Calendar, Certificate, Contact, ContactAddress, ContactChannel,
    Contract, Coverage, Customer, CustomerValue, DataConsent, Date, Depot, Document, FormItem,
    GeoPosition, Includes, Lead, LeadState, Level, Location, Placement, Purpose, RecordId,
    RecordKind, RowError, Target, Technician, Van, columns, form, from_csv, from_form, from_json,
    to_csv, to_json,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Lines that are hard on CSV files and spreadsheets, and harmless ones.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[=+@'\\-][^\\p{C}]{0,8}",
        "[^\\p{C}]{1,20}",
        "[a-z;,\"\\[\\]]{1,8}",
        Just("'=1+1".to_owned()),
        Just("[\"a\"]".to_owned()),
        Just("true".to_owned()),
        Just("12.50".to_owned()),
    ]
    .prop_map(|text| text.trim().to_owned())
    .prop_filter("empty", |text| !text.is_empty())
}

fn id() -> impl Strategy<Value = RecordId> {
    "[-_.:a-zA-Z0-9压]{1,12}".prop_map(|text| RecordId::new(text).unwrap())
}

fn instant() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000_000).prop_map(Timestamp::from_millis)
}

fn date() -> impl Strategy<Value = Date> {
    instant().prop_map(Date::of)
}

fn position() -> impl Strategy<Value = GeoPosition> {
    (-90.0..=90.0, -180.0..=180.0).prop_map(|(latitude_deg, longitude_deg)| GeoPosition {
        latitude_deg,
        longitude_deg,
    })
}

fn distinct<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items.dedup();
    items
}

fn channels() -> impl Strategy<Value = Vec<ContactAddress>> {
    let address = prop_oneof![
        Just((ContactChannel::Email, "ops@example.com".to_owned())),
        Just((ContactChannel::Phone, "+49 (40) 123".to_owned())),
        line().prop_map(|text| (ContactChannel::Slack, text)),
    ];
    vec(
        address.prop_map(|(kind, address)| ContactAddress { kind, address }),
        0..3,
    )
}

fn consents() -> impl Strategy<Value = Vec<DataConsent>> {
    option::of((instant(), any::<bool>(), any::<bool>())).prop_map(|consent| {
        let consent = consent.map(|(at, given, ends)| DataConsent {
            purpose: Purpose::Prediction,
            given,
            at,
            until: ends.then(|| at.plus_hours(24.0)),
        });
        consent.into_iter().collect()
    })
}

fn contact() -> impl Strategy<Value = Contact> {
    let hours = prop_oneof![
        Just(None),
        Just(Some(String::new())),
        Just(Some("22:00-07:00".to_owned())),
    ];
    let reached = (channels(), consents(), hours, any::<bool>());
    (id(), line(), option::of(line()), reached).prop_map(
        |(id, name, role, (channels, consents, quiet, has_zone))| Contact {
            id,
            name,
            role,
            language: Some("zh-CN".to_owned()),
            time_zone: has_zone.then(|| "Asia/Shanghai".to_owned()),
            quiet,
            channels,
            consents,
        },
    )
}

fn customer() -> impl Strategy<Value = Body> {
    let people = (vec(contact(), 0..3), vec(id(), 0..4));
    (
        line(),
        0.0..1e12_f64,
        option::of(0.0..1e12_f64),
        people,
        consents(),
        option::of("[^\\p{C}]{0,5}\n[a-z\"]{1,5}"),
    )
        .prop_map(
            |(name, yearly, lifetime, (mut contacts, preferred), data_consents, note)| {
                contacts.sort_by(|a, b| a.id.cmp(&b.id));
                contacts.dedup_by(|a, b| a.id == b.id);
                Body::Customer(Customer {
                    name,
                    address: None,
                    value: CustomerValue { yearly, lifetime },
                    contacts,
                    data_consents,
                    preferred_technicians: distinct(preferred),
                    excluded_technicians: Vec::new(),
                    note: note.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()),
                })
            },
        )
}

fn contract() -> impl Strategy<Value = Body> {
    let coverage = (vec(id(), 0..3), vec(line(), 0..3), vec(id(), 0..3));
    let includes = (any::<bool>(), any::<bool>(), vec(line(), 0..4));
    (id(), line(), date(), coverage, includes, 0.1..100.0_f64).prop_map(
        |(customer, kind, valid_from, (assets, classes, locations), included, hours)| {
            Body::Contract(Contract {
                customer,
                kind,
                title: None,
                valid_from,
                valid_to: Some(valid_from),
                coverage: Coverage {
                    assets: distinct(assets),
                    classes: distinct(classes),
                    locations: distinct(locations),
                },
                calendar: None,
                targets: vec![Target {
                    priority: Priority::P2,
                    response_hours: hours,
                    resolution_hours: hours * 3.0,
                }],
                includes: Includes {
                    labour: included.0,
                    all_parts: included.1,
                    parts: distinct(included.2),
                },
                yearly_price: Some(hours),
                note: None,
            })
        },
    )
}

fn asset() -> impl Strategy<Value = Body> {
    let spans = vec((1_i64..1_000, 0_i64..1_000), 0..5);
    (option::of(line()), spans, id(), line()).prop_map(|(serial, spans, location, text)| {
        let mut at = 0;
        let positions = spans.into_iter().map(|(length, gap)| {
            let from = at + gap;
            at = from + length;
            Placement {
                location: location.clone(),
                from: Timestamp::from_millis(from),
                to: Some(Timestamp::from_millis(at)),
            }
        });
        Body::Asset(AssetDetails {
            serial,
            positions: positions.collect(),
            bill_of_parts: vec![BillItem {
                part: text.clone(),
                quantity: 2,
                place: Some(text.clone()),
                serial: None,
            }],
            documents: vec![Document {
                title: text,
                url: "https://example.com/a;b,\"c\"".to_owned(),
            }],
            ..AssetDetails::default()
        })
    })
}

fn technician() -> impl Strategy<Value = Body> {
    (
        line(),
        vec(line(), 0..4),
        option::of(position()),
        channels(),
        any::<bool>(),
    )
        .prop_map(|(name, skills, home, channels, active)| {
            Body::Technician(Technician {
                certificates: vec![Certificate {
                    name: name.clone(),
                    number: None,
                    valid_until: None,
                }],
                name,
                skills: distinct(skills),
                regions: vec!["north".to_owned()],
                depot: None,
                van: None,
                home,
                calendar: None,
                channels,
                language: None,
                active,
            })
        })
}

fn other() -> impl Strategy<Value = Body> {
    (line(), option::of(position()), id(), instant()).prop_flat_map(
        |(name, position, id, opened_at)| {
            let location = Body::Location(Location {
                name: name.clone(),
                level: Level::Area,
                parent: Some(id.clone()),
                position,
                address: Some(name.clone()),
                region: None,
                time_zone: Some("Asia/Shanghai".to_owned()),
            });
            let depot = Body::Depot(Depot {
                name: name.clone(),
                position,
                address: None,
                time_zone: None,
            });
            let van = Body::Van(Van {
                name: name.clone(),
                depot: Some(id.clone()),
                position,
            });
            let calendar = Body::Calendar(Calendar {
                name: name.clone(),
                hours: CalendarFile {
                    time_zone: "Europe/Zurich".to_owned(),
                    week: WeekFile {
                        mon: vec!["08:00-12:00".to_owned(), "22:00-06:00".to_owned()],
                        ..WeekFile::default()
                    },
                    holidays: vec![HolidayFile {
                        date: Date::of(opened_at).to_string(),
                        title: name.clone(),
                        hours: Vec::new(),
                    }],
                    ..CalendarFile::default()
                },
            });
            let lead = Body::Lead(Lead {
                customer: id,
                kind: name.clone(),
                title: name,
                asset: None,
                contract: None,
                state: LeadState::Won,
                opened_at,
                value: Some(0.1),
                note: None,
            });
            prop_oneof![
                Just(location),
                Just(depot),
                Just(van),
                Just(calendar),
                Just(lead)
            ]
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![customer(), contract(), asset(), technician(), other()]
}

/// What a browser sends of a form.
fn fields(items: &[FormItem]) -> BTreeMap<String, String> {
    let of_item = |item: &FormItem| match item {
        FormItem::Field(field) => vec![field.clone()],
        FormItem::List { rows, .. } => rows.concat(),
    };
    let all = items.iter().flat_map(of_item);
    all.map(|field| (field.name, field.value.replace('\n', "\r\n")))
        .collect()
}

proptest! {
    #[test]
    fn what_is_exported_reads_back_as_the_same(id in id(), body in body()) {
        let kind = body.kind();
        prop_assert_eq!(body.faults().0, Vec::new());
        let csv = to_csv(kind, [(&id, &body)]);
        let read = from_csv(kind, &csv).unwrap();
        prop_assert_eq!((&read[0].id, &read[0].body), (&id, &body), "{}", csv);
        let read = from_json(kind, &to_json([(&id, &body)])).unwrap();
        prop_assert_eq!((&read[0].id, &read[0].body), (&id, &body));
        // Written again, it is the same to the byte.
        prop_assert_eq!(to_csv(kind, [(&read[0].id, &read[0].body)]), csv);
    }

    #[test]
    fn a_form_that_is_sent_as_it_came_is_the_same_record(body in body(), n_more in 0_usize..3) {
        let kind = body.kind();
        let sent = fields(&form(kind, &body.to_value(), n_more));
        let read = from_form(kind, |name| sent.get(name).map(String::as_str)).unwrap();
        prop_assert_eq!(Body::parse(kind, read), Ok(body), "{:?}", sent);
    }

    #[test]
    fn no_cell_of_an_export_is_a_formula(id in id(), body in body()) {
        let csv = to_csv(body.kind(), [(&id, &body)]);
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        for row in reader.records() {
            for cell in &row.unwrap() {
                let number = cell.parse::<f64>().is_ok();
                prop_assert!(number || !cell.starts_with(['=', '+', '-', '@']), "{}", cell);
            }
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in any::<String>(), kind in 0_usize..9) {
        let kind = RecordKind::ALL[kind];
        from_csv(kind, &text).ok();
        from_csv(kind, &format!("{}\n{text}", columns(kind).join(","))).ok();
        from_json(kind, &text).ok();
    }
}

fn errors(kind: RecordKind, text: &str) -> Vec<(u64, String, String)> {
    let errors = from_csv(kind, text).unwrap_err();
    errors
        .into_iter()
        .map(
            |RowError {
                 line,
                 column,
                 detail,
             }| (line, column, detail),
        )
        .collect()
}

#[test]
fn every_fault_is_named_by_line_and_column() {
    let text = "id,name,value.yearly,contacts\n\
                c1,Fine,1,\n\
                c 2,Bad id,2,\n\
                c3,,x,\n\
                c4,\"Two\nlines\",-1,\"[{\"\"id\"\":\"\"a\"\",\"\"name\"\":\"\"A\"\",\"\"channels\"\":[{\"\"kind\"\":\"\"email\"\",\"\"address\"\":\"\"nobody\"\"}]}]\"\n\
                c5,Short\n";
    let found = errors(RecordKind::Customer, text);
    let places: Vec<(u64, &str)> = found.iter().map(|(l, c, _)| (*l, c.as_str())).collect();
    assert_eq!(
        places,
        [
            (3, "id"),
            (4, "value.yearly"),
            (5, "name"),
            (5, "value.yearly"),
            (5, "contacts[0].channels[0].address"),
            (7, ""),
        ],
        "{found:?}"
    );
    assert!(found[1].2.contains("\"x\" is no number"));
    assert!(found[5].2.contains("has 2 cells, the header 4"));
}

#[test]
fn unknown_and_doubled_columns_are_named_before_anything_is_read() {
    let found = errors(RecordKind::Van, "id,name,name,wheels\nv1,a,b,c\n");
    let places: Vec<(u64, &str)> = found.iter().map(|(l, c, _)| (*l, c.as_str())).collect();
    assert_eq!(places, [(1, "name"), (1, "wheels")]);
    assert!(found[1].2.contains("position.latitude_deg"), "{found:?}");
    assert_eq!(errors(RecordKind::Van, "name\nv1\n")[0].1, "id");
}

#[test]
fn a_file_by_a_spreadsheet_is_read() {
    let text = "\u{feff}name,id,skills,active,if_version\r\nLi Wei,t1, hydraulics ; plc,TRUE,3\r\n";
    let read = from_csv(RecordKind::Technician, text).unwrap();
    assert_eq!(read[0].if_version, Some(3));
    let Body::Technician(technician) = &read[0].body else {
        panic!("a technician")
    };
    assert_eq!(technician.skills, ["hydraulics", "plc"]);
    assert!(technician.active);
}

#[test]
fn json_faults_are_named_by_place_and_field() {
    let text = r#"[{"id":"a","body":{"name":"A"}},{"id":"b","body":{"name":"B","colour":"red"}},{"id":"c"}]"#;
    let found = from_json(RecordKind::Van, text).unwrap_err();
    assert_eq!((found[0].line, found[0].column.as_str()), (2, "colour"));
    assert_eq!(found[1].line, 3);
    assert!(found[1].detail.contains("body"), "{found:?}");
}

#[test]
fn every_column_is_documented() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/connector.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("## Columns of CSV files").unwrap();
    for kind in RecordKind::ALL {
        let begin = format!("| `{}` |", kind.plural());
        let line = section
            .lines()
            .find(|line| line.starts_with(&begin))
            .unwrap();
        for column in columns(kind).into_iter().skip(1) {
            assert!(line.contains(&format!("`{column}`")), "{column} of {begin}");
        }
    }
}

#[test]
fn another_separator_than_the_comma_is_named() {
    for (text, found) in [
        ("id;name\r\nK-1;Acme\r\n", "semicolons (;)"),
        ("id\tname\nK-1\tAcme\n", "tabs"),
    ] {
        let errors = from_csv(RecordKind::Customer, text).unwrap_err();
        let details: Vec<&str> = errors.iter().map(|e| e.detail.as_str()).collect();
        assert_eq!(details.len(), 1);
        assert!(details[0].contains(found) && details[0].contains("by commas"));
    }
}

#[test]
fn rows_of_a_form_are_added_and_taken_away() {
    let body = serde_json::json!({"name": "Nordwind", "contacts": [
        {"id": "P-1", "name": "Ada", "quiet": "", "channels": [{"kind": "email", "address": "a@example.com"}]},
        {"id": "P-2", "name": "Bo"},
    ]});
    let mut sent = fields(&form(RecordKind::Customer, &body, 2));
    assert_eq!(sent["contacts.0.channels"], "email:a@example.com");
    sent.insert("contacts.1.id".to_owned(), String::new());
    sent.insert("contacts.1.name".to_owned(), " ".to_owned());
    sent.insert("contacts.3.id".to_owned(), "P-3".to_owned());
    sent.insert("contacts.3.name".to_owned(), "Cy".to_owned());
    sent.insert(
        "contacts.3.channels".to_owned(),
        "sms: +49 1; slack:#ops".to_owned(),
    );
    let read = |sent: &BTreeMap<String, String>| {
        from_form(RecordKind::Customer, |name| {
            sent.get(name).map(String::as_str)
        })
    };
    let stored = read(&sent).unwrap();
    assert_eq!(
        stored["contacts"],
        serde_json::json!([
            {"id": "P-1", "name": "Ada", "quiet": "", "channels": [{"kind": "email", "address": "a@example.com"}]},
            {"id": "P-3", "name": "Cy", "channels": [{"kind": "sms", "address": "+49 1"}, {"kind": "slack", "address": "#ops"}]},
        ])
    );
    sent.insert("value.yearly".to_owned(), "much".to_owned());
    sent.insert("contacts.0.channels".to_owned(), "ada".to_owned());
    let faults = read(&sent).unwrap_err();
    let named: Vec<&str> = faults.0.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(named, ["value.yearly", "contacts.0.channels"]);
}
