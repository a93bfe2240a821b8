"""How tables come to be, and what a database that does not fit is told."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from balancer.db import migrations, tables
from balancer.db.engine import make_engine, migration, write
from balancer.db.repository import SqlRepository
from balancer.db.secrets import Keys, new_key
from balancer.exceptions import ConfigurationError, DatabaseNotSynced, DatabaseUnavailable
from tests.contract import samples
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

ROOT = Path(__file__).resolve().parents[2]


class MigrationsContract(Suite):
    def test_migrations_and_tables_say_the_same(self) -> None:
        with self.engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            self.assertEqual([], compare_metadata(context, tables.metadata))
        inspector = sa.inspect(self.engine)
        for table in tables.metadata.sorted_tables:
            with self.subTest(table.name):
                # MariaDB does not keep the name of this one.
                name = inspector.get_pk_constraint(table.name)["name"]
                self.assertEqual(None if self.engine.dialect.name == "mariadb" else table.primary_key.name, name)
                self.assertEqual(
                    sorted((str(key.name), str(key.ondelete)) for key in table.foreign_key_constraints),
                    sorted(
                        (str(key["name"]), str(key["options"].get("ondelete")))
                        for key in inspector.get_foreign_keys(table.name)
                    ),
                )

    def test_syncing_again_changes_nothing(self) -> None:
        device = samples.device()
        with self.repository.write() as tx:
            tx.add_device(device)
        migrations.sync(self.engine)
        self.repository.check_synced()
        with self.repository.read() as tx:
            self.assertEqual(device.id, tx.device(device.id).id)

    def test_down_and_up_again(self) -> None:
        migrations.downgrade(self.engine, "base")
        self.assertEqual(["alembic_version"], sa.inspect(self.engine).get_table_names())
        with self.assertRaises(DatabaseNotSynced) as caught:
            self.repository.check_synced()
        self.assertIn("balancer-api --dbsync", str(caught.exception))
        migrations.sync(self.engine)
        self.repository.check_synced()

    def test_using_a_database_without_tables_names_the_command(self) -> None:
        migrations.downgrade(self.engine, "base")
        with self.assertRaises(DatabaseNotSynced) as caught, self.repository.read() as tx:
            tx.devices()
        self.assertIn("balancer-api --dbsync", str(caught.exception))
        self.assertNotIn("SELECT", str(caught.exception))

    def test_tables_of_a_newer_version_are_left_alone(self) -> None:
        with write(self.engine) as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        for call in (self.repository.check_synced, lambda: migrations.sync(self.engine)):
            with self.assertRaises(DatabaseNotSynced) as caught:
                call()
            self.assertIn("newer version", str(caught.exception))
        self.assertEqual([("9999",)], self.query("SELECT version_num FROM alembic_version"))

    def test_a_database_with_other_tables_of_these_names_is_left_as_it_is(self) -> None:
        migrations.downgrade(self.engine, "base")
        with write(self.engine) as connection:
            connection.execute(sa.text("CREATE TABLE members (mine INTEGER)"))
        with self.assertRaises(DatabaseUnavailable) as caught:
            migrations.sync(self.engine)
        self.assertIn("members", str(caught.exception))
        self.assertNotIn("CREATE", str(caught.exception))
        self.assertEqual(["alembic_version", "members"], sorted(sa.inspect(self.engine).get_table_names()))


class MigrationsOnSqlite(MigrationsContract, SqliteFile):
    def test_rows_survive_a_table_that_is_made_anew(self) -> None:
        device = samples.device()
        load_balancer = samples.load_balancer(device.id)
        with self.repository.write() as tx:
            tx.add_device(device)
            tx.add_load_balancer(load_balancer)
        with migration(self.engine) as connection:
            for statement in (
                "CREATE TABLE new_devices AS SELECT * FROM devices",
                "DROP TABLE devices",
                "ALTER TABLE new_devices RENAME TO devices",
                "CREATE UNIQUE INDEX pk_devices ON devices (id)",
            ):
                connection.exec_driver_sql(statement)
        with self.repository.read() as tx:
            self.assertEqual(load_balancer.id, tx.load_balancer(load_balancer.id).id)
            self.assertEqual(device.id, tx.device(device.id).id)
        # The connections that are used afterwards check foreign keys as ever.
        self.assertEqual([(1,)], self.query("PRAGMA foreign_keys"))

    def test_a_change_that_leaves_rows_without_their_parents_is_undone(self) -> None:
        device = samples.device()
        with self.repository.write() as tx:
            tx.add_device(device)
        with self.assertRaises(DatabaseUnavailable), migration(self.engine) as connection:
            connection.exec_driver_sql("DELETE FROM devices")
        with self.repository.read() as tx:
            self.assertEqual([device.id], [each.id for each in tx.devices()])


class MigrationsOnServerContract(MigrationsContract):
    def test_two_who_sync_at_once_do_it_once(self) -> None:
        migrations.downgrade(self.engine, "base")
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=sync, args=(self.url,)) for _ in range(2)]
        for process in processes:
            process.start()
            self.addCleanup(process.kill)
        for process in processes:
            process.join(timeout=60)
        self.assertEqual([0, 0], [process.exitcode for process in processes])
        self.repository.check_synced()

    def test_one_who_syncs_waits_for_another_in_vain_and_says_so(self) -> None:
        engine = make_engine(self.url, patience=1.0)
        self.addCleanup(engine.dispose)
        with migration(self.engine), self.assertRaises(DatabaseUnavailable) as caught:
            migrations.sync(engine)
        self.assertIn("locked", str(caught.exception))
        migrations.sync(engine)


class MigrationsOnPostgresql(MigrationsOnServerContract, Postgresql):
    changes_tables = True


class MigrationsOnMariadb(MigrationsOnServerContract, Mariadb):
    changes_tables = True

    def test_tables_do_not_depend_on_what_the_server_is_set_to(self) -> None:
        self.assertEqual([("latin1",)], self.query("SELECT @@character_set_server"))
        found = self.query(
            "SELECT DISTINCT engine, table_collation FROM information_schema.tables WHERE table_schema = database()"
        )
        self.assertEqual([("InnoDB", "utf8mb4_nopad_bin")], found)

    def test_a_url_that_begins_with_mysql_will_do_as_well(self) -> None:
        migrations.downgrade(self.engine, "base")
        engine = make_engine(self.url.replace("mariadb+pymysql:", "mysql:"))
        self.addCleanup(engine.dispose)
        migrations.sync(engine)
        SqlRepository(engine).check_synced()
        self.assertEqual(
            [("utf8mb4_nopad_bin",)],
            self.query(
                "SELECT DISTINCT table_collation FROM information_schema.tables WHERE table_schema = database()"
            ),
        )


class TestNewSqliteFile(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(suffix=" with %odd #name?")
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name, "balancer.sqlite")
        self.engine = make_engine(f"sqlite:///{self.path}".replace("%", "%25").replace("?", "%3F"))
        self.addCleanup(self.engine.dispose)

    def test_looking_at_a_missing_file_names_the_command_and_makes_none(self) -> None:
        with self.assertRaises(DatabaseNotSynced) as caught:
            SqlRepository(self.engine).check_synced()
        self.assertIn("balancer-api --dbsync", str(caught.exception))
        self.assertIn(str(self.path), str(caught.exception))
        self.assertFalse(self.path.exists())

    def test_a_new_file_and_its_companions_are_for_their_owners_eyes_only(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        migrations.sync(self.engine)
        repository = SqlRepository(self.engine, secrets=Keys([new_key()]))
        repository.check_synced()
        with repository.write() as tx:
            tx.add_device(samples.device())
        modes = {path.name: path.stat().st_mode & 0o777 for path in self.path.parent.iterdir()}
        names = ("balancer.sqlite", "balancer.sqlite-shm", "balancer.sqlite-wal")
        self.assertEqual(dict.fromkeys(names, 0o600), modes)

    def test_the_rights_of_a_present_file_are_kept(self) -> None:
        self.path.touch()
        self.path.chmod(0o640)
        migrations.sync(self.engine)
        self.assertEqual(0o640, self.path.stat().st_mode & 0o777)

    def test_two_who_sync_at_once_do_it_once(self) -> None:
        context = multiprocessing.get_context("spawn")
        url = f"sqlite:///{self.path}".replace("%", "%25").replace("?", "%3F")
        processes = [context.Process(target=sync, args=(url,)) for _ in range(3)]
        for process in processes:
            process.start()
            self.addCleanup(process.kill)
        for process in processes:
            process.join(timeout=60)
        self.assertEqual([0, 0, 0], [process.exitcode for process in processes])
        SqlRepository(self.engine).check_synced()

    def test_a_folder_that_is_not_there_is_named(self) -> None:
        engine = make_engine(
            f"sqlite:///{self.path.parent.name}/nowhere/balancer.sqlite".replace("%", "").replace("?", "")
        )
        with self.assertRaises(ConfigurationError) as caught:
            migrations.sync(engine)
        self.assertIn("nowhere", str(caught.exception))


class TestUrls(unittest.TestCase):
    def test_what_cannot_be_used_is_told_in_words(self) -> None:
        for url, word in (
            ("sqlite://", "plain file"),
            ("sqlite:///:memory:", "plain file"),
            ("sqlite:///file:x?mode=memory&uri=true", "plain file"),
            ("nonsense", "not usable"),
            ("oracle://user:secret@127.0.0.1/x", "not one of"),
            ("postgresql+psycopg2://user:secret@127.0.0.1/x", "write postgresql+psycopg://"),
            ("mysql+mysqldb://user:secret@127.0.0.1/x", "write mysql+pymysql://"),
        ):
            with self.subTest(url), self.assertRaises(ConfigurationError) as caught:
                make_engine(url)
            self.assertIn(word, str(caught.exception))
            self.assertIn("[sql] connection", str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))

    def test_a_driver_is_chosen_where_the_url_names_none(self) -> None:
        for dialect, driver in (("postgresql", "psycopg"), ("mysql", "pymysql"), ("mariadb", "pymysql")):
            engine = make_engine(f"{dialect}://user:secret@127.0.0.1/x")
            self.assertEqual((dialect, driver), (engine.dialect.name, engine.dialect.driver))

    def test_a_driver_that_is_not_installed_is_named_with_the_command(self) -> None:
        for dialect, driver in (("postgresql", "psycopg"), ("mysql", "pymysql"), ("mariadb", "pymysql")):
            done = subprocess.run(
                [sys.executable, "-c", WITHOUT_A_MODULE, driver, f"{dialect}://user:secret@127.0.0.1/x"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
            )
            self.assertIn(f"pip install 'balancer[{dialect}]'", done.stdout, done.stderr)

    def test_a_relative_path_is_of_the_folder_where_the_program_was_started(self) -> None:
        engine = make_engine("sqlite:///balancer.sqlite")
        self.assertEqual(str(Path.cwd() / "balancer.sqlite"), engine.url.database)


WITHOUT_A_MODULE = """
import sys
sys.modules[sys.argv[1]] = None
from balancer.db.engine import make_engine
from balancer.exceptions import ConfigurationError
try:
    make_engine(sys.argv[2])
except ConfigurationError as error:
    print(error)
"""


def sync(url: str) -> None:
    engine = make_engine(url)
    migrations.sync(engine)
    engine.dispose()
