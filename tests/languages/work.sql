create table person(id integer primary key, name text not null, height real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 800)
insert into person select i, 'name' || (i * 7919 % 1009), 150 + (i * 31 % 500) / 10.0 from n;
create index by_name on person(name);
select count(*), min(name), max(height), round(avg(height), 6) from person;
select name, height from person where name between 'name1' and 'name12' order by height desc, name limit 5;
select substr(name, 5, 1) as digit, count(*), sum(id) from person group by digit having count(*) > 60 order by digit;
begin; delete from person where id % 3 = 0; rollback; select count(*) from person;
update person set name = upper(name) where id < 10; select group_concat(name, ' ') from person where id < 10;
select a.id, b.id from person a join person b on a.name < b.name and b.id = a.id + 1 limit 3;
select printf('%.3f %x %s', 22 / 7.0, 255, hex('sql')), length(zeroblob(1000)), abs(-5), 7 / 2, 7 % 3;
