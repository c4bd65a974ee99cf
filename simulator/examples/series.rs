//! Prints one machine's samples as CSV: `cargo run -p forecare-simulator --example series -- [SEED] [DEVICE] [HOURS]`.
//! The faults planned for the fleet go to the error output.

use forecare_catalogue::Catalogue;
use forecare_simulator::{Emission, Fleet, FleetConfig, METRICS, histories_start};

const CATALOGUE: &str = include_str!("../../crates/catalogue/catalogues/demo.toml");

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let seed = args.next().map_or(Ok(1), |a| a.parse())?;
    let device = args.next();
    let hours: f64 = args.next().map_or(Ok(336.0), |a| a.parse())?;
    let start = histories_start();
    let config = FleetConfig {
        seed,
        n_devices: 10,
        start,
        sample_interval_s: 600.0,
        n_faults: 5,
        first_onset_hours: 120.0,
        onset_spacing_hours: 6.0,
    };
    let mut fleet = Fleet::new(&config, &Catalogue::parse(CATALOGUE)?)?;
    for fault in fleet.faults() {
        eprintln!(
            "{} {} onset {:.1} h failure {:.1} h",
            fault.device,
            fault.mode,
            fault.onset_at.hours_since(start),
            fault.failure_at.hours_since(start)
        );
    }
    let device = device.unwrap_or_else(|| fleet.faults()[0].device.to_string());
    println!("hours,{}", METRICS.join(","));
    for emission in fleet.advance(start.plus_hours(hours)) {
        match emission {
            Emission::Telemetry {
                device: d,
                ts,
                values,
                ..
            } if d.as_str() == device => {
                let values: Vec<String> = values.iter().map(f64::to_string).collect();
                println!("{:.3},{}", ts.hours_since(start), values.join(","));
            }
            Emission::Event(event) => {
                eprintln!(
                    "{:.1} {} {} {}",
                    event.ts.hours_since(start),
                    event.device,
                    event.code,
                    event.message
                );
            }
            Emission::Telemetry { .. } => {}
        }
    }
    Ok(())
}
