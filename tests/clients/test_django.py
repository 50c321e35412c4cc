"""Django: migrations, the ORM, transactions and introspection."""

from __future__ import annotations

import pytest

from tests.clients.side_by_side import intercepted, python, same
from tests.support.stack import Stack

SETTINGS = """
import django
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "HOST": HOST, "PORT": PORT, "USER": "app",
                           "NAME": "postgres", "OPTIONS": {"server_side_binding": BINDING}}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"], USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()
from django.core.management import call_command
from django.db import connection, models, transaction
"""

PROGRAM = """
import io
from django.contrib.auth.models import Group, User
from django.db.models import Count, F, Q, Subquery, OuterRef, Window
from django.db.models.functions import RowNumber, Upper
call_command("migrate", verbosity=0)
call_command("migrate", verbosity=0)
groups = [Group.objects.create(name=f"g{i}") for i in range(3)]
users = User.objects.bulk_create([User(username=f"u{i}", email=f"u{i}@x.org", password="!") for i in range(10)])
for i, user in enumerate(User.objects.order_by("id")):
    user.groups.add(groups[i % 3])
print(list(Group.objects.annotate(n=Count("user")).order_by("name").values_list("name", "n")))
print(list(User.objects.filter(Q(username__startswith="u") & ~Q(username="u3"), groups__name="g0")
           .order_by("username").values_list("username", flat=True)))
print(User.objects.filter(username__in=["u1", "u2"]).update(first_name=Upper(F("username"))))
print(User.objects.get(username="u1").first_name)
numbered = User.objects.annotate(n=Window(RowNumber(), order_by=F("username").desc()))
print(list(numbered.values_list("username", "n"))[:3])
print([u.username for u in User.objects.prefetch_related("groups").select_for_update().order_by("id")[:2]]
      if not connection.in_atomic_block and connection.set_autocommit(False) is None else None)
transaction.rollback(); connection.set_autocommit(True)
try:
    with transaction.atomic():
        User.objects.create(username="u1")
except Exception as error:
    print(type(error).__name__)
with transaction.atomic():
    User.objects.filter(username="u9").delete()
    point = transaction.savepoint()
    User.objects.all().delete()
    transaction.savepoint_rollback(point)
print(User.objects.count(), sum(1 for _ in User.objects.iterator(chunk_size=3)))
print(User.objects.filter(username="u1").explain()[:5])
out = io.StringIO()
call_command("inspectdb", "auth_user", "orders", stdout=out)
print(out.getvalue())
with connection.cursor() as cursor:
    print(connection.introspection.get_constraints(cursor, "auth_user_groups").keys())
call_command("migrate", "auth", "zero", verbosity=0)
call_command("migrate", "contenttypes", "zero", verbosity=0)
with connection.schema_editor() as editor:
    editor.execute("DROP TABLE django_migrations")
"""


@pytest.mark.parametrize("binding", ["False", "True"], ids=["bound by the client", "bound by the server"])
def test_the_whole_of_it(stack: Stack, binding: str) -> None:
    out = same(stack, python(f"BINDING = {binding}\n{SETTINGS}{PROGRAM}", stack.server.port))
    assert "[('g0', 4), ('g1', 3), ('g2', 3)]" in out
    assert "IntegrityError" in out
    assert "class Orders(models.Model):" in out


def test_unmanaged_models_come_masked(stack: Stack) -> None:
    program = (
        SETTINGS.replace("BINDING", "False")
        + """
class Customer(models.Model):
    name = models.TextField()
    email = models.TextField()
    ssn = models.TextField()
    class Meta:
        app_label = "auth"
        managed = False
        db_table = "customers"
print(Customer.objects.filter(id__lt=3).order_by("id").values_list("name", "email", "ssn"))
print(Customer.objects.get(pk=5).email)
from django.db.utils import ProgrammingError
try:
    connection.cursor().execute("DROP TABLE orders")
except ProgrammingError as error:
    print(str(error).splitlines()[0])
"""
    )
    run = intercepted(stack, python(program, stack.server.port), person="ann")
    assert run.stdout.splitlines() == [
        "<QuerySet [('name1', 'u***@e***.org', '***'), ('name2', 'u***@e***.org', '***')]>",
        "u***@e***.org",
        "lockgate: schema changes go through migrations",
    ], run.stderr
