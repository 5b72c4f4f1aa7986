"""Calls about requirements, and about what was measured."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from quartet.projects.v1 import history_pb2, requirement_calls_pb2
from quartet.projects.v1 import metric_calls_pb2 as pb

from quartet_server.projects import metrics, schema
from quartet_server.projects.calls import SERVICE, Calls, Context
from quartet_server.projects.unit import Unit
from quartet_server.projects.writers import METRICS, REQUIREMENTS
from quartet_server.records import paging, rows
from quartet_server.records.contract import Session


class MeasureCalls(Calls):
    """Calls about requirements and metrics."""

    async def ValidateRequirement(
        self, request: requirement_calls_pb2.ValidateRequirementRequest, context: Context
    ) -> history_pb2.Requirement:
        """Say whether a person confirmed a requirement."""

        def work(unit: Unit) -> history_pb2.Requirement:
            validated = request.validated if request.HasField("validated") else True
            changed, paths = history_pb2.Requirement(id=request.id, validated=validated), ["validated"]
            if request.HasField("confidence"):
                changed.confidence = request.confidence
                paths.append("confidence")
            return REQUIREMENTS.update(unit, changed, FieldMask(paths=paths), "requirement")

        return await self.write("ValidateRequirement", request, history_pb2.Requirement, work)

    async def LinkRequirement(
        self, request: requirement_calls_pb2.LinkRequirementRequest, context: Context
    ) -> history_pb2.Requirement:
        """Say which features meet a requirement."""

        def work(unit: Unit) -> history_pb2.Requirement:
            before = rows.fetch(unit.session, schema.REQUIREMENTS, request.id)
            gone = set(request.unlink_feature_ids)
            kept = [one for one in before.linked_features if one not in gone]
            linked = dict.fromkeys([*kept, *request.feature_ids])
            changed = history_pb2.Requirement(id=request.id, linked_features=linked)
            return REQUIREMENTS.update(unit, changed, FieldMask(paths=["linked_features"]), "requirement")

        return await self.write("LinkRequirement", request, history_pb2.Requirement, work)

    async def RecordMetric(self, request: pb.RecordMetricRequest, context: Context) -> history_pb2.Metric:
        """Store a measurement."""
        return await self.write(
            "RecordMetric",
            request,
            history_pb2.Metric,
            lambda unit: METRICS.create(unit, request.metric, "metric"),
        )

    async def QueryMetrics(self, request: pb.QueryMetricsRequest, context: Context) -> pb.QueryMetricsResponse:
        """Read a page of measurements in the order of time."""
        where = metrics.selected(request.selection)

        def work(session: Session) -> pb.QueryMetricsResponse:
            found, token = paging.page(
                session,
                schema.METRICS,
                conditions=where,
                order_by="timestamp desc" if request.newest_first else "timestamp",
                page_size=request.page_size,
                page_token=request.page_token,
                seal=SERVICE + "QueryMetrics" + request.selection.SerializeToString(deterministic=True).hex(),
            )
            return pb.QueryMetricsResponse(metrics=found, next_page_token=token)

        return await self.read(work)

    async def AggregateMetrics(
        self, request: pb.AggregateMetricsRequest, context: Context
    ) -> pb.AggregateMetricsResponse:
        """Add measurements up."""
        where = metrics.selected(request.selection)

        def work(session: Session) -> pb.AggregateMetricsResponse:
            groups = metrics.aggregate(session, where, list(request.group_by), request.bucket_seconds)
            return pb.AggregateMetricsResponse(groups=groups)

        return await self.read(work)
