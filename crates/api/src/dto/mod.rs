//! What crosses the wire. Own types, so that the vocabulary inside can change without breaking callers.

mod alarm;
mod asset;
mod catalogue;
mod dispatch;
mod kpi;
mod notice;
mod part;
mod record;
mod registry;
mod supply;
mod telemetry;
mod ticket;
mod work;

pub(crate) use alarm::{AlarmChangeDto, AlarmDto, ContributionDto};
pub(crate) use asset::{
    AssetDto, DeviceDto, HealthDto, MaintenanceWindowDto, NewAssetDto, NewAssetsDto,
    NewMaintenanceWindowDto, RegisteredDto, RulDto,
};
pub(crate) use catalogue::CatalogueDto;
pub(crate) use dispatch::{
    AssignmentDto, DispatchCandidateDto, DispatchOverrideDto, DispatchProposalDto, SlaClockDto,
};
pub(crate) use kpi::{
    DimensionDto, FigureDto, FigureTicketsDto, GroupDto, KpisDto, ParetoDto, ParetoLineDto,
};
pub(crate) use notice::{DeliveryDto, SurveyAnswerDto};
pub(crate) use part::{
    FateDto, KitDto, LedgerEntryDto, MarksDto, MovedDto, MovementDto, MovementKindDto, PartDto,
    ReceiptDto, ReservationDto, StockDto,
};
pub use part::{UnitDto, UnitPlaceDto};
pub(crate) use record::{DeadLetterDto, EventDto, HealthzDto, LabelDto, VerdictDto};
pub(crate) use registry::{
    CustomerOverviewDto, ErasureDto, ImportEntryDto, ImportedDto, OwnedAssetDto, OwnedContractDto,
    OwnedLeadDto, RecordChangesDto, RecordDto, RecordVersionDto, shown, withhold,
};
pub(crate) use supply::{
    AvailabilityDto, PromiseDto, PurchaseOrderDto, PurchaseOrderPutDto, PurchaseOrdersDto,
    ReorderDto, ReorderListDto,
};
pub(crate) use telemetry::{FillDto, LatestRowDto, TelemetryDto};
pub(crate) use ticket::{
    AlsoOpenDto, NewTicketDto, ProductionImpactDto, TicketDetailDto, TicketDto, TransitionDto,
    UrgencyDto,
};
pub(crate) use work::{TicketEntryDto, WorkDto};
