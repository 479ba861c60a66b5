-- Tables filled by recursion, indexes, joins, groups, windows, triggers and updates.
create table customer(id integer primary key, name text, town text);
create table sale(id integer primary key, customer integer references customer, day integer, amount real, note text);
create table audit(n integer);
insert into audit values(0);
create trigger counted after update on sale begin update audit set n = n + 1; end;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 500)
insert into customer select i, 'customer ' || i, char(65 + i % 11) || 'town' from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
insert into sale select i, 1 + (i * 7919) % 500, (i * 31) % 365, ((i * 1103) % 9973) / 7.0, 'note ' || (i % 97) from n;
create index by_customer on sale(customer, day);
select town, count(*), round(sum(amount), 2), max(day) from sale join customer on customer.id = sale.customer group by town order by 3 desc limit 4;
select name, round(total, 2) from (select customer, sum(amount) total from sale group by customer order by total desc limit 3) join customer on id = customer order by 2 desc;
select note, count(*) c from sale where note like '%7%' and amount between 100 and 900 group by note having c > 50 order by c desc, note limit 5;
update sale set amount = amount * 1.1 where day % 17 = 3;
select n from audit;
select day, round(moving, 3) from (select day, avg(sum(amount)) over (order by day rows between 6 preceding and current row) moving from sale group by day) where day % 90 = 5;
select count(*) from sale a join sale b on a.customer = b.customer and b.day = a.day + 1;
select group_concat(name, '; ') from (select name from customer where id in (select customer from sale where amount > 1400 group by customer having count(*) > 4) order by name limit 5);
delete from sale where id % 3 = 0;
select count(*), round(total(amount), 2), upper(substr(max(note), 1, 6)) from sale;
