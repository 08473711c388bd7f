{{ config(materialized='materialized_view', indexes=[{'columns': ['customer_id']}]) }}
select customer_id, sum(amount) as amount from {{ source('app', 'orders') }} group by customer_id
