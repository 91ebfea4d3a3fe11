"""A read of one row as the FastAPI tutorial writes it: a session per request, an ORM class, a response model.

The database's URL comes in the environment, as NAIVE_DATABASE.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.load import ACTORS, actor_id, fields

engine = create_engine(os.environ["NAIVE_DATABASE"])


class Base(DeclarativeBase):
    """All tables."""


class Row(Base):
    """One order."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    total: Mapped[float]
    state: Mapped[str]
    note: Mapped[str]


class Order(BaseModel):
    """What is answered."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    customer: str
    total: float
    state: str
    note: str


def session() -> Iterator[Session]:
    """One session for one request."""
    with Session(engine) as each:
        yield each


def fill() -> None:
    """As many rows as the product has actors."""
    Base.metadata.create_all(engine)
    with Session(engine) as filling:
        filling.add_all(Row(id=actor_id(number), **fields(number)) for number in range(ACTORS))
        filling.commit()


fill()
app = FastAPI()


@app.get("/orders/{order_id}", response_model=Order)
def read_order(order_id: str, reading: Annotated[Session, Depends(session)]) -> Row:
    """One order by its id."""
    row = reading.get(Row, order_id)
    if row is None:
        raise HTTPException(status_code=404, detail="Order not found")
    return row
