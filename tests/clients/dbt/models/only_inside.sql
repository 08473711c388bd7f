{{ config(materialized='ephemeral') }}
select id, amount from {{ ref('orders_clean') }} where amount > 40
