{{ config(materialized='table', indexes=[{'columns': ['country'], 'unique': true}]) }}
select o.code, k.name::text as country, sum(o.amount)::numeric as amount
from {{ ref('orders_clean') }} o
join {{ ref('countries') }} k on k.code = o.code
group by o.code, k.name
