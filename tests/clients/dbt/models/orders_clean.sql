{{ config(materialized='view') }}
select o.id, o.customer_id, c.country as code, o.amount
from {{ source('app', 'orders') }} o
join {{ source('app', 'customers') }} c on c.id = o.customer_id
