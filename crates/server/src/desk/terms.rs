//! Which service levels a ticket has.

use forecare_care::sla::SlaTerms;
use forecare_domain::Ticket;

/// The terms of all tickets.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    standard: SlaTerms,
}

impl Terms {
    /// Everybody has the terms of the configuration.
    pub(crate) fn new(standard: SlaTerms) -> Self {
        Self { standard }
    }

    /// The terms of `ticket`.
    pub(crate) fn of(&self, _ticket: &Ticket) -> &SlaTerms {
        let contract = None;
        self.with_contract(contract)
    }

    /// The contract's own terms where the customer has one, else everybody's.
    pub(crate) fn with_contract<'a>(&'a self, contract: Option<&'a SlaTerms>) -> &'a SlaTerms {
        contract.unwrap_or(&self.standard)
    }
}
