"""Masked tables through psycopg (text and binary), asyncpg, SQLAlchemy and Django: masked values in their own types, no
raw value anywhere, and writes to what is not masked. With the argument `keyed` the masks are those with the key in
MASK_KEY: every value has its own token, which joins, groups and finds.

Reports as JSON on the last line."""

import asyncio
import datetime
import decimal
import hashlib
import hmac
import json
import os
import ssl
import sys
import types

import asyncpg
import psycopg
from django.apps import AppConfig
from django_settings import configured
from sqlalchemy import ForeignKey, String, create_engine, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, joinedload, mapped_column, relationship, selectinload

REPORT = {}
KEYED = sys.argv[1:] == ["keyed"]


def token(purpose, value, length):
    """What whoever has the key computes for a value."""
    return hmac.new(os.environ["MASK_KEY"].encode(), f"{purpose}:{value}".encode(), hashlib.sha256).hexdigest()[:length]


def masked_email(value):
    return f"x{token('email', value, 16)}@example.test" if KEYED else "x***@example.test"


def masked_date(key, value):
    if not KEYED:
        return value.replace(month=1, day=1)
    way = (int(token("date", f"crm.people/{key}", 16), 16) & (2**63 - 1)) % 60
    return value + datetime.timedelta(days=way - 30 if way < 30 else way - 29)


EMAIL = {key: masked_email(f"{name}.canary@corp.example") for key, name in ((1, "ann"), (2, "bob"), (3, "cyd"))}
BORN = {1: masked_date(1, datetime.date(1980, 5, 17)), 2: masked_date(2, datetime.date(1990, 12, 31)), 3: None}
CARD = token("hash", "4111-1111-1111-1234", 19) if KEYED else "***************1234"
MASKED = (EMAIL[1], CARD, BORN[1], decimal.Decimal("1000.00"), {"ssn": None, "k": 1}, None)
SORTED = sorted(EMAIL.items(), key=lambda one: (one[1], one[0]))
COLUMNS = "email, card, born, salary, extra, tags"


def same(what, got, want):
    if "canary" in str(got).lower():
        sys.exit(f"{what}: raw: {got!r}")
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")
    REPORT[what] = True


def with_psycopg():
    with psycopg.connect(autocommit=True) as conn:
        for binary in (False, True):
            word = "binary" if binary else "text"
            cursor = conn.cursor(binary=binary)
            sql = f"SELECT {COLUMNS} FROM crm.people WHERE id = %s"
            for turn in ("once", "twice", "thrice"):
                row = cursor.execute(sql, (1,), prepare=True).fetchone()
                same(f"psycopg {word} {turn}", row, MASKED)
            same(f"psycopg {word} oracle", cursor.execute("SELECT id FROM crm.people WHERE card = %s", ("4111-1111-1111-1234",)).fetchall(), [])
            try:
                cursor.execute("SELECT email::text::int FROM crm.people")
                sys.exit("a text became a number")
            except psycopg.Error as error:
                same(f"psycopg {word} error", "withheld" in str(error), True)
        with conn.transaction(), conn.cursor("named", binary=True) as cursor:
            cursor.execute("SELECT email FROM crm.people ORDER BY id")
            same("psycopg named cursor", cursor.fetchmany(2), [(EMAIL[1],), (EMAIL[2],)])
        for form in ("", "(FORMAT csv)", "(FORMAT binary)"):
            with conn.cursor().copy(f"COPY crm.people (id, email, card) TO STDOUT {form}") as copy:
                data = b"".join(bytes(block) for block in copy)
            same(f"psycopg copy {form}", b"CANARY" in data.upper() or b"4111" in data, False)
            same(f"psycopg copy {form} masked", EMAIL[1].encode() in data, True)


async def with_asyncpg():
    context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    conn = await asyncpg.connect(ssl=context)
    statement = await conn.prepare(f"SELECT {COLUMNS} FROM crm.people WHERE id = $1")
    same("asyncpg described", [a.name for a in statement.get_attributes()], COLUMNS.split(", "))
    want = (*MASKED[:4], json.dumps({"k": 1, "ssn": None}), MASKED[5])
    for turn in ("once", "twice"):
        same(f"asyncpg {turn}", tuple(await statement.fetchrow(1)), want)
    same("asyncpg row", (await conn.fetchrow("SELECT o, o.id FROM (SELECT id, email FROM crm.people) o ORDER BY id"))["o"][1], EMAIL[1])
    async with conn.transaction():
        same("asyncpg cursor", [r["email"] async for r in conn.cursor("SELECT email FROM crm.people ORDER BY id", prefetch=1)], list(EMAIL.values()))
    if not KEYED:
        upsert = await conn.prepare(
            "INSERT INTO crm.people (id, name, email, born, salary) VALUES ($1, $2, $3, $4, $5), ($6, 'Gil', $7, $8, 1) "
            "ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email, born = EXCLUDED.born, salary = EXCLUDED.salary RETURNING id"
        )
        same("asyncpg upsert types", [p.name for p in upsert.get_parameters()], ["int4", "text", "varchar", "date", "numeric", "int4", "varchar", "date"])
        move = conn.transaction()
        await move.start()
        day = datetime.date(2001, 2, 3)
        rows = await upsert.fetch(1, "Ann", "one.mine@corp.example", day, decimal.Decimal("1.5"), 70, "two.mine@corp.example", day)
        same("asyncpg upsert", [row["id"] for row in rows], [1, 70])
        await move.rollback()
    await conn.close()


class Crm(AppConfig):
    """Django finds what points back at a model only among installed applications."""

    name = "crm"
    path = os.path.dirname(__file__)


class Base(DeclarativeBase):
    __table_args__ = {"schema": "crm"}


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str] = mapped_column(String(80))
    born: Mapped[datetime.date | None]
    orders: Mapped[list["Order"]] = relationship(back_populates="buyer")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    person: Mapped[int] = mapped_column(ForeignKey("crm.people.id"))
    note: Mapped[str | None]
    buyer: Mapped[Person] = relationship(back_populates="orders")


def with_sqlalchemy():
    engine = create_engine("postgresql+psycopg://")
    with Session(engine) as session:
        same("sqlalchemy get", session.get(Person, 1).email, EMAIL[1])
        page = session.scalars(select(Person).order_by(Person.email, Person.id).offset(1).limit(2)).all()
        same("sqlalchemy page", [(p.id, p.email) for p in page], SORTED[1:])
        joined = session.scalars(select(Order).join(Order.buyer).options(joinedload(Order.buyer)).where(Person.name == "Ann")).all()
        same("sqlalchemy joined", [o.buyer.email for o in joined], [EMAIL[1]])
        people = session.scalars(select(Person).options(selectinload(Person.orders)).order_by(Person.id)).all()
        same("sqlalchemy selectin", [(p.born and p.born.year, len(p.orders)) for p in people], [(BORN[1].year, 1), (BORN[2].year, 1), (None, 0)])
        grouped = session.execute(select(Person.id, Person.email, func.count(Order.id)).outerjoin(Order).group_by(Person.id).order_by(Person.id)).all()
        same("sqlalchemy group", [tuple(row) for row in grouped], [(1, EMAIL[1], 1), (2, EMAIL[2], 1), (3, EMAIL[3], 0)])
        others = aliased(Person)
        pairs = session.execute(select(Person.id, others.id).join(others, Person.email == others.email).order_by(Person.id, others.id)).all()
        alike = [(one, other) for one in EMAIL for other in EMAIL if EMAIL[one] == EMAIL[other]]
        same("sqlalchemy pairs", [tuple(row) for row in pairs], alike)
        addresses = session.execute(select(Person.email, func.count()).group_by(Person.email).order_by(Person.email)).all()
        same("sqlalchemy addresses", [tuple(row) for row in addresses], [(one, list(EMAIL.values()).count(one)) for one in sorted(set(EMAIL.values()))])
        if KEYED:
            # The same value in another table has the same token, which is not the value's.
            session.execute(update(Order).where(Order.id == 10).values(note="ann.canary@corp.example"))
            noted = session.execute(select(Order.id, Person.id, Order.note).join(Person, Order.note == Person.email)).all()
            same("sqlalchemy token joins", [tuple(row) for row in noted], [(10, 1, EMAIL[1])])
            found = session.scalars(select(Person.id).where(Person.email == EMAIL[2])).all()
            same("sqlalchemy token finds", found, [2])
            same("sqlalchemy value finds", session.scalars(select(Person.id).where(Person.email == "bob.canary@corp.example")).all(), [])
        ann = session.get(Person, 1)
        ann.name = "Anne"
        if not KEYED:
            session.add(Person(id=7, name="Eve", email="eve.mine@corp.example", born=datetime.date(2001, 2, 3)))
        session.commit()
        same("sqlalchemy written", session.scalar(select(Person.name).where(Person.id == 1)), "Anne")
        if not KEYED:
            same("sqlalchemy own row", session.scalar(select(Person.email).where(Person.id == 7)), masked_email("eve.mine@corp.example"))
            session.delete(session.get(Person, 7))
        session.commit()
        if not KEYED:
            upsert = insert(Person).values(id=1, name="Anne", email="one.mine@corp.example")
            upsert = upsert.on_conflict_do_update(index_elements=[Person.id], set_={"email": upsert.excluded.email, "name": upsert.excluded.name})
            same("sqlalchemy upsert", session.scalar(upsert.returning(Person.id)), 1)
            upsert = insert(Person)
            upsert = upsert.on_conflict_do_update(index_elements=["id"], set_={"email": upsert.excluded.email}).returning(Person.id)
            rows = [{"id": key, "name": "Gil", "email": f"{key}.mine@corp.example"} for key in (1, 70)]
            same("sqlalchemy upserts", sorted(session.scalars(upsert, rows)), [1, 70])
            session.rollback()
    engine.dispose()


def with_django():
    sys.modules["crm"] = types.ModuleType("crm")
    configured(["__main__.Crm"])
    from django.core.paginator import Paginator
    from django.db import models, transaction

    class People(models.Model):
        id = models.IntegerField(primary_key=True)
        name = models.TextField()
        email = models.TextField(null=True)
        born = models.DateField(null=True)

        class Meta:
            app_label = "crm"
            db_table = '"crm"."people"'

    class Orders(models.Model):
        id = models.IntegerField(primary_key=True)
        person = models.ForeignKey(People, models.CASCADE, db_column="person")
        note = models.TextField(null=True)

        class Meta:
            app_label = "crm"
            db_table = '"crm"."orders"'

    same("django get", People.objects.get(pk=1).email, EMAIL[1])
    page = Paginator(People.objects.order_by("email", "id"), 2).page(2)
    same("django page", [(p.id, p.email) for p in page], SORTED[2:])
    same("django joined", Orders.objects.select_related("person").get(person__name="Bob").person.email, EMAIL[2])
    same("django filtered", People.objects.filter(email__startswith="ann.").count(), 0)
    addresses = People.objects.values("email").annotate(n=models.Count("id")).order_by("email")
    same("django addresses", [(row["email"], row["n"]) for row in addresses], [(one, list(EMAIL.values()).count(one)) for one in sorted(set(EMAIL.values()))])
    if KEYED:
        same("django token finds", People.objects.get(email=EMAIL[3]).id, 3)
        same("django token joins", list(Orders.objects.filter(note=models.F("person__email")).values_list("id", "note")), [(10, EMAIL[1])])
    same("django updated", People.objects.filter(pk=2).update(name="Rob"), 1)
    bob = People.objects.only("id", "name").get(pk=2)
    bob.name = "Bob"
    bob.save(update_fields=["name"])
    grouped = People.objects.annotate(n=models.Count("orders")).order_by("id").values_list("id", "email", "n")
    same("django group", list(grouped), [(1, EMAIL[1], 1), (2, EMAIL[2], 1), (3, EMAIL[3], 0)])
    whole = People.objects.annotate(n=models.Count("orders")).order_by("id")
    same("django annotated", [(p.name, p.n) for p in whole], [("Anne", 1), ("Bob", 1), ("Cyd", 0)])
    if KEYED:  # A new row would have a date in it, and who writes one learns how far the dates of its row are moved.
        return
    made = People.objects.create(id=8, name="Fay", email="fay.mine@corp.example")
    same("django made", People.objects.get(pk=8).email, masked_email("fay.mine@corp.example"))
    Orders.objects.create(id=80, person=made, note="n")
    same("django deleted", Orders.objects.filter(person__name="Fay").delete()[0], 1)
    many = [People(id=key, name="Gil", email=f"{key}.mine@corp.example", born=datetime.date(2001, 2, 3)) for key in (8, *range(1000, 2000))]
    with transaction.atomic():
        People.objects.bulk_create(many, update_conflicts=True, unique_fields=["id"], update_fields=["name", "email", "born"])
        same("django upserts", People.objects.filter(name="Gil").count(), 1001)
        transaction.set_rollback(True)
    made.delete()
    same("django gone", People.objects.filter(pk=8).exists(), False)


with_psycopg()
asyncio.run(with_asyncpg())
with_sqlalchemy()
with_django()
print(json.dumps(REPORT), file=sys.stdout)
