"""Serves the benchmark's routes with the technology of the original API: FastAPI, SQLAlchemy's ORM with psycopg, pydantic models, uvicorn.

scripts/bench starts this server with two workers. For these routes the server gives the same answers as the component. It has no
authentication, no middleware and no request log.
"""

import os
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ForeignKey, Uuid, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
engine = create_async_engine(url, pool_size=10, max_overflow=6)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSONB, list[UUID]: ARRAY(Uuid)}


class Agent(Base):
    __tablename__ = "agents"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    agent_type: Mapped[str]
    persona: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    is_active: Mapped[bool]
    is_busy: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Channel(Base):
    __tablename__ = "channels"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    is_archived: Mapped[bool]
    context_cleared_at: Mapped[datetime | None]


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    channel_id: Mapped[UUID] = mapped_column(ForeignKey("channels.id"))
    author_id: Mapped[UUID | None]
    author_type: Mapped[str]
    author_name: Mapped[str]
    content: Mapped[str]
    thread_id: Mapped[UUID | None]
    meta: Mapped[dict[str, Any]] = mapped_column("metadata")
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Workflow(Base):
    __tablename__ = "workflows"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    description: Mapped[str]
    orchestrator_id: Mapped[UUID | None]
    channel_id: Mapped[UUID | None]
    status: Mapped[str]
    execution_strategy: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class WorkflowTask(Base):
    __tablename__ = "workflow_tasks"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    workflow_id: Mapped[UUID] = mapped_column(ForeignKey("workflows.id"))
    description: Mapped[str]
    agent_id: Mapped[UUID | None]
    order_index: Mapped[int]
    depends_on: Mapped[list[UUID]]
    status: Mapped[str]
    output: Mapped[str | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: UUID
    created_at: datetime


class AgentOut(Out):
    name: str
    agent_type: str
    persona: dict[str, Any]
    config: dict[str, Any]
    is_active: bool
    is_busy: bool
    updated_at: datetime


class MessageOut(Out):
    channel_id: UUID
    author_id: UUID | None
    author_type: str
    author_name: str
    content: str
    thread_id: UUID | None
    meta: dict[str, Any]


class WorkflowOut(Out):
    description: str
    orchestrator_id: UUID | None
    channel_id: UUID | None
    status: str
    execution_strategy: str
    started_at: datetime | None
    completed_at: datetime | None


class WorkflowTaskOut(Out):
    workflow_id: UUID
    description: str
    agent_id: UUID | None
    order_index: int
    depends_on: list[UUID]
    status: str
    output: str | None
    error: str | None
    started_at: datetime | None
    completed_at: datetime | None


class MessageIn(BaseModel):
    content: str
    author_id: UUID | None = None
    author_type: str = "user"
    author_name: str = "user"
    thread_id: UUID | None = None
    metadata: dict[str, Any] = {}


async def database():
    async with sessions() as session:
        yield session


@app.get("/api/health")
async def health():
    return {"status": "ok"}


@app.get("/api/agents")
async def agent_list(limit: int = 50, db: AsyncSession = Depends(database)) -> list[AgentOut]:
    return (await db.scalars(select(Agent).order_by(Agent.created_at, Agent.id).limit(limit))).all()


@app.get("/api/agents/name/{name}")
async def agent_get_by_name(name: str, db: AsyncSession = Depends(database)) -> AgentOut:
    agent = await db.scalar(select(Agent).where(Agent.name == (name if name.startswith("@") else "@" + name)))
    if agent is None:
        raise HTTPException(404)
    return agent


@app.get("/api/channels/{id}/messages")
async def channel_message_list(id: UUID, limit: int = 100, db: AsyncSession = Depends(database)) -> list[MessageOut]:
    channel = await db.get(Channel, id)
    if channel is None:
        raise HTTPException(404)
    newest = select(Message).where(Message.channel_id == id).order_by(Message.created_at.desc(), Message.id.desc()).limit(limit)
    if channel.context_cleared_at is not None:
        newest = newest.where(Message.created_at > channel.context_cleared_at)
    return list(reversed((await db.scalars(newest)).all()))


@app.get("/api/workflows")
async def workflow_list_status(status: str, limit: int = 50, db: AsyncSession = Depends(database)) -> list[WorkflowOut]:
    newest = select(Workflow).where(Workflow.status == status).order_by(Workflow.created_at.desc(), Workflow.id.desc())
    return (await db.scalars(newest.limit(limit))).all()


@app.get("/api/workflows/{id}/tasks")
async def workflow_task_list(id: UUID, limit: int = 50, db: AsyncSession = Depends(database)) -> list[WorkflowTaskOut]:
    in_order = select(WorkflowTask).where(WorkflowTask.workflow_id == id).order_by(WorkflowTask.order_index, WorkflowTask.id)
    tasks = (await db.scalars(in_order.limit(limit))).all()
    if not tasks and await db.get(Workflow, id) is None:
        raise HTTPException(404)
    return tasks


@app.post("/api/channels/{id}/messages", status_code=201)
async def message_create(id: UUID, body: MessageIn, db: AsyncSession = Depends(database)) -> MessageOut:
    channel = await db.get(Channel, id)
    if channel is None:
        raise HTTPException(404)
    message = Message(channel_id=id, author_id=body.author_id, author_type=body.author_type, author_name=body.author_name,
                      content=body.content, thread_id=body.thread_id, meta=body.metadata)
    db.add(message)
    await db.commit()
    return message
