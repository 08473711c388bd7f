"""Django migrates its contrib applications there and back, introspects, and works with the ORM."""

import json
import os
import sys

from django.core.management import call_command
from django_settings import configured

configured(["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "django.contrib.admin"])
seen = {}
quiet = {"verbosity": 0, "interactive": False}
call_command("migrate", **quiet)

from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.db import connection, transaction  # noqa: E402

seen["permissions"] = Permission.objects.count()
user = User.objects.create_user("job", "job@example.test", "secret")
group = Group.objects.create(name="readers")
group.permissions.set(Permission.objects.filter(codename__startswith="view_"))
user.groups.add(group)
with transaction.atomic():
    User.objects.filter(pk=user.pk).update(first_name="J")
seen["orm"] = User.objects.filter(groups__permissions__codename="view_user").distinct().get().first_name == "J"
with connection.cursor() as cursor:
    tables = connection.introspection.table_names(cursor)
    seen["constraints"] = "auth_user_pkey" in connection.introspection.get_constraints(cursor, "auth_user")
seen["introspection"] = "auth_user" in tables and "django_migrations" in tables
call_command("inspectdb", "auth_user", stdout=open(os.devnull, "w"))
call_command("sqlsequencereset", "auth", stdout=open(os.devnull, "w"))
call_command("migrate", "admin", "zero", **quiet)
call_command("migrate", "auth", "0011", **quiet)
call_command("migrate", **quiet)
call_command("flush", **quiet)
seen["flushed"] = User.objects.count() == 0
try:
    with connection.cursor() as cursor:
        cursor.execute("SELECT token FROM app.card_tokens")
except Exception as error:
    seen["denied"] = "denied by" in str(error)
print(json.dumps(seen), file=sys.stdout)
