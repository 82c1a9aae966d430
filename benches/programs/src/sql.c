/* An SQL engine in memory: tables, an index, inserts, joins, sorting, grouping. Argument: rows. */
#include "sqlite3.h"
#include <stdio.h>
#include <stdlib.h>

static int print_row(void *unused, int columns, char **values, char **names) {
    (void)unused;
    (void)names;
    for (int at = 0; at < columns; at++) printf("%s|", values[at] ? values[at] : "");
    printf("\n");
    return 0;
}

static void run(sqlite3 *db, const char *sql) {
    char *message = 0;
    if (sqlite3_exec(db, sql, print_row, 0, &message) != SQLITE_OK) {
        printf("error: %s\n", message);
        exit(1);
    }
}

int main(int count, char **arguments) {
    int rows = count > 1 ? atoi(arguments[1]) : 10000;
    sqlite3 *db;
    char sql[512];
    if (sqlite3_open(":memory:", &db) != SQLITE_OK) return 1;
    run(db, "create table item(id integer primary key, shelf int, name text, price real)");
    run(db, "create table shelf(id integer primary key, label text)");
    run(db, "begin");
    snprintf(sql, sizeof sql,
             "with recursive n(i) as (select 1 union all select i + 1 from n where i < %d) insert into item "
             "select i, i * 7919 %% 97, 'item ' || (i * 31 %% 1009), (i * 7907 %% 100000) / 100.0 from n",
             rows);
    run(db, sql);
    run(db, "with recursive n(i) as (select 0 union all select i + 1 from n where i < 96) insert into shelf "
            "select i, printf('shelf-%03d', i) from n");
    run(db, "commit");
    run(db, "create index by_shelf on item(shelf, price)");
    run(db, "select label, count(*), round(avg(price), 3), max(name) from item join shelf on shelf.id = item.shelf "
            "group by label order by 3 desc limit 5");
    run(db, "select count(*) from item where name like '%9%' and price between 100 and 600");
    run(db, "update item set price = price * 1.1 where shelf % 3 = 0");
    run(db, "delete from item where id % 11 = 0");
    run(db, "select substr(name, 6, 2) as k, count(distinct shelf), total(price) from item group by k order by k limit 5");
    run(db, "select a.id, b.id from item a join item b on a.shelf = b.shelf and a.price = b.price and a.id < b.id "
            "order by 1, 2 limit 3");
    run(db, "select group_concat(x) from (select json_extract('{\"a\":[1,2,' || id || ']}', '$.a[2]') as x from item "
            "order by price desc limit 5)");
    return sqlite3_close(db) != SQLITE_OK;
}
