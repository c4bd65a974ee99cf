//! The care desk's settings.

/// What the care desk may be told. All hours are at least 0; [`CarePolicy::default`] is a sound start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CarePolicy {
    /// A ticket that nobody started on is withdrawn when its evidence has been gone for so many hours.
    pub withdraw_after_hours: f64,
    /// How long a soft hold on parts lasts after the last evidence, hours.
    pub soft_hold_hours: f64,
    /// The customer's time to object: a resolved ticket counts as confirmed after so many hours.
    pub confirm_after_hours: f64,
    /// Act when the expected cost of waiting exceeds the cost of acting by more than this share of it.
    /// 0: act from break-even on; 0.5: only when waiting costs half as much again. At least 0.
    pub margin: f64,
    /// Chance that a real fault seen as a mere warning strikes within the horizon, 0 to 1; used only
    /// where neither a model nor a trend says better.
    pub warning_share: f64,
    /// Failure expected within so many hours: high urgency.
    pub urgent_hours: f64,
    /// Failure expected within so many hours: medium urgency; later is low.
    pub soon_hours: f64,
    /// A technician of another depot is proposed only when the home depot's have so many more open
    /// tickets.
    pub away_counts_as_tickets: u32,
}

impl Default for CarePolicy {
    fn default() -> Self {
        Self {
            withdraw_after_hours: 72.0,
            soft_hold_hours: 72.0,
            confirm_after_hours: 72.0,
            margin: 0.0,
            warning_share: 0.5,
            urgent_hours: 24.0,
            soon_hours: 168.0,
            away_counts_as_tickets: 3,
        }
    }
}
